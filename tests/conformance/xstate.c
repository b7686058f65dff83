/* SPDX-License-Identifier: MIT */
/*
 * Preloaded into User-Mode Linux: lets it set the floating point registers of its processes on
 * processors whose XSAVE area is larger than UML's buffer for it (with AMX it is 11 kB).
 *
 * The host takes PTRACE_SETREGSET of NT_X86_XSTATE only for the whole area; UML 6.1 hands over
 * the 2696 bytes it has room for, gets EINVAL and panics at its first process.  Here the
 * whole area is read, what UML knows of it is replaced, and the whole is written.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static char area[65536]; /* UML makes these calls from one thread only */

static long set_or_get_xstate(int request, pid_t pid, struct iovec *asked)
{
	struct iovec whole = { area, sizeof area };
	long result = syscall(SYS_ptrace, PTRACE_GETREGSET, pid, NT_X86_XSTATE, &whole);
	size_t length = asked->iov_len < whole.iov_len ? asked->iov_len : whole.iov_len;

	if (result < 0)
		return result;
	if (request == PTRACE_SETREGSET) {
		memcpy(area, asked->iov_base, length);
		return syscall(SYS_ptrace, request, pid, NT_X86_XSTATE, &whole);
	}
	memcpy(asked->iov_base, area, length);
	asked->iov_len = length;
	return 0;
}

long ptrace(enum __ptrace_request request, ...)
{
	va_list list;

	va_start(list, request);
	pid_t pid = va_arg(list, pid_t);
	void *address = va_arg(list, void *);
	void *data = va_arg(list, void *);
	va_end(list);

	if ((request == PTRACE_GETREGSET || request == PTRACE_SETREGSET) &&
	    (long)address == NT_X86_XSTATE)
		return set_or_get_xstate(request, pid, data);
	if (request == PTRACE_PEEKTEXT || request == PTRACE_PEEKDATA || request == PTRACE_PEEKUSER) {
		/* The system call stores the word, the C library returns it. */
		long word;
		long result = syscall(SYS_ptrace, request, pid, address, &word);

		return result < 0 ? result : word;
	}
	return syscall(SYS_ptrace, request, pid, address, data);
}
