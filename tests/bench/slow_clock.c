// Slows the monotonic clock of a process 20,000 times, and its waits for a time. Loaded by LD_PRELOAD.
//
// Callgrind makes a function about fifty times slower, its start and a busy machine slower still. The
// 2 s timeout of an AWS call then expired during the first TLS handshake, and the SDK repeated the
// call on a second connection; the next message of a batch started after 4 ms, also on a second
// connection. On the slow clock, 4 ms last 80 s. The wall clock stays right, because requests are
// signed with it.

#include <limits.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { SLOWDOWN = 20000 };

int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = syscall(SYS_clock_gettime, clock, time);
    if (result == 0 && clock == CLOCK_MONOTONIC) {
        long long nanoseconds = (time->tv_sec * 1000000000LL + time->tv_nsec) / SLOWDOWN;
        time->tv_sec = nanoseconds / 1000000000;
        time->tv_nsec = nanoseconds % 1000000000;
    }
    return result;
}

// At its usual speed, a wait would end before its time on the slow clock, again and again.
int epoll_wait(int epoll, struct epoll_event *events, int most, int milliseconds) {
    int wait = milliseconds > INT_MAX / SLOWDOWN ? INT_MAX : milliseconds * SLOWDOWN;
    return syscall(SYS_epoll_pwait, epoll, events, most, wait, NULL, 0);
}
