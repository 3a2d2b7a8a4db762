/* With this in LD_PRELOAD the clock of a machine is set back and forth by days, again and again.
   The monotonic clock goes on, as it does when somebody sets the other one. */
#include <stdatomic.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const long DAY_S = 86400;
static const double DAYS[] = {0, 40, -3, 0.5, -400};
static atomic_uint asked;

int clock_gettime(clockid_t clock, struct timespec *found)
{
    int code = syscall(SYS_clock_gettime, clock, found);
    if (code == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        found->tv_sec += (long)(DAY_S * DAYS[atomic_fetch_add(&asked, 1) % 5]);
    return code;
}

int gettimeofday(struct timeval *restrict found, void *restrict zone)
{
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    found->tv_sec = now.tv_sec;
    found->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *found)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (found)
        *found = now.tv_sec;
    return now.tv_sec;
}
