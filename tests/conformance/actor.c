/* SPDX-License-Identifier: MIT */
/*
 * A task of a scenario in a live kernel.  It makes the system calls that it is told to, one
 * request after the other; requests come from one FIFO, replies go to another.
 *
 * It has no C library, so that it is small, touches the same pages every time, and can
 * share its memory with others: all state is on the stack or in the task's own buffer.
 */
#include <asm/unistd.h>
#include <linux/fcntl.h>
#include <linux/mman.h>
#include <linux/sched.h>

#define PAGE 4096
#define STACK_SIZE (64 * 1024)

/* What is no system call but made of several. */
enum { CLONE = -1, TOUCH = -2, HOG = -3 };

struct request {
	long number;
	long arguments[6];
	long payload; /* bytes that follow, for the buffer */
	long room;    /* bytes of the buffer that follow the reply */
};

static char first_buffer[2 * PAGE] __attribute__((aligned(PAGE)));

static long call(long number, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

static long map(long length)
{
	return call(__NR_mmap, 0, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		    0);
}

static void touch(volatile char *from, long length, int writing)
{
	for (long offset = 0; offset < length; offset += PAGE) {
		if (writing)
			from[offset] = 1;
		else
			(void)from[offset];
	}
}

/* Take more and more memory; return the kB that were to be had. */
static long hog(long limit_kb, long step_kb)
{
	long taken_kb = 0;

	while (taken_kb < limit_kb) {
		long region = map(step_kb * 1024);

		if (region < 0)
			break;
		touch((char *)region, step_kb * 1024, 1);
		taken_kb += step_kb;
	}
	return taken_kb;
}

static void receive(long fd, char *to, long length)
{
	while (length > 0) {
		long count = call(__NR_read, fd, (long)to, length, 0, 0, 0);

		if (count > 0) {
			to += count;
			length -= count;
		}
	}
}

static void send(long fd, const void *from, long length)
{
	call(__NR_write, fd, (long)from, length, 0, 0, 0);
}

/* clone(2) with a stack, at whose top lie a function and its three arguments. */
static long clone_onto(long flags, long *top)
{
	long result;

	__asm__ volatile("syscall\n\t"
			 "test %%rax, %%rax\n\t"
			 "jnz 1f\n\t"
			 "xor %%ebp, %%ebp\n\t"
			 "pop %%rax\n\t"
			 "pop %%rdi\n\t"
			 "pop %%rsi\n\t"
			 "pop %%rdx\n\t"
			 "call *%%rax\n"
			 "1:"
			 : "=a"(result)
			 : "a"(__NR_clone), "D"(flags), "S"(top), "d"(0)
			 : "rcx", "r8", "r10", "r11", "memory");
	return result;
}

static void idle(void)
{
	for (;;)
		call(__NR_pause, 0, 0, 0, 0, 0, 0);
}

static void serve(const char *requests, const char *replies, char *buffer);

/* Make a task on a stack of its own, whose lowest pages are its buffer. */
static long clone_with_stack(long flags, long requests, long replies)
{
	long stack = map(STACK_SIZE);
	long *top = (long *)(stack + STACK_SIZE - 64);

	if (stack < 0)
		return stack;
	top[0] = requests ? (long)serve : (long)idle;
	top[1] = requests;
	top[2] = replies;
	top[3] = stack;
	return clone_onto(flags, top);
}

static void serve(const char *requests, const char *replies, char *buffer)
{
	struct request request;
	long in, out, result;
	long hello[2];

begin:
	in = call(__NR_open, (long)requests, O_RDONLY | O_CLOEXEC, 0, 0, 0, 0);
	out = call(__NR_open, (long)replies, O_WRONLY | O_CLOEXEC, 0, 0, 0, 0);
	touch(buffer, 1, 1);
	hello[0] = call(__NR_gettid, 0, 0, 0, 0, 0, 0);
	hello[1] = (long)buffer;
	send(out, hello, sizeof hello);
	for (;;) {
		long *a = request.arguments;

		receive(in, (char *)&request, sizeof request);
		receive(in, buffer, request.payload);
		if (request.number == CLONE && (a[0] & CLONE_VM)) {
			result = clone_with_stack(a[0], a[1], a[2]);
		} else if (request.number == CLONE) {
			result = call(__NR_clone, a[0], 0, 0, 0, 0, 0);
			if (result == 0) {
				requests = (const char *)a[1];
				replies = (const char *)a[2];
				goto begin;
			}
		} else if (request.number == TOUCH) {
			touch((char *)a[0], a[1], a[2]);
			result = 0;
		} else if (request.number == HOG) {
			result = hog(a[0], a[1]);
		} else {
			result = call(request.number, a[0], a[1], a[2], a[3], a[4], a[5]);
		}
		send(out, &result, sizeof result);
		if (request.room)
			send(out, buffer, request.room);
	}
}

/* Arguments: the names of the two FIFOs. */
__attribute__((used)) static void begin(long *stack)
{
	char **arguments = (char **)(stack + 1);

	serve(arguments[1], arguments[2], first_buffer);
}

__asm__(".global _start\n"
	"_start:\n\t"
	"xor %ebp, %ebp\n\t"
	"mov %rsp, %rdi\n\t"
	"and $-16, %rsp\n\t"
	"call begin\n\t"
	"hlt\n");
