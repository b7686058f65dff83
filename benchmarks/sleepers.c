/* SPDX-License-Identifier: MIT
 * sleepers COUNT: be so many processes that do nothing, in one tree.  A line on stdout says that
 * they are there; they end with the first of them.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	for (int count = argc == 2 ? atoi(argv[1]) : 0; count > 1; count--) {
		pid_t pid = fork();
		if (pid < 0) {
			perror("fork");
			return 1;
		}
		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			pause();
			_exit(0);
		}
	}
	puts("ready");
	fflush(stdout);
	pause();
	return 0;
}
