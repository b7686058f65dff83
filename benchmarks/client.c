/* SPDX-License-Identifier: MIT
 * The client of all servers: open, read or write, and close one file again and again.
 *
 *     client read|write PATH MILLISECONDS
 *
 * prints how often per second.  It writes 500 and 100 in turns.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BETWEEN_LOOKS = 16 };

static double now_s(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

static int read_once(const char *path)
{
	char buffer[4096];
	int fd = open(path, O_RDONLY);
	int ok = fd >= 0 && read(fd, buffer, sizeof buffer) > 0;
	return fd >= 0 && close(fd) == 0 && ok;
}

static int write_once(const char *path)
{
	static int turn;
	int fd = open(path, O_WRONLY);
	int ok = fd >= 0 && write(fd, turn++ & 1 ? "100\n" : "500\n", 4) == 4;
	return fd >= 0 && close(fd) == 0 && ok;
}

int main(int argc, char **argv)
{
	if (argc != 4)
		return 2;
	int writes = strcmp(argv[1], "write") == 0;
	double begin_s = now_s(), end_s = begin_s + atof(argv[3]) / 1e3;
	long done = 0;
	while (now_s() < end_s) {
		for (int i = 0; i < BETWEEN_LOOKS; i++, done++) {
			if (!(writes ? write_once(argv[2]) : read_once(argv[2]))) {
				perror(argv[2]);
				return 1;
			}
		}
	}
	printf("%.1f\n", done / (now_s() - begin_s));
	return 0;
}
