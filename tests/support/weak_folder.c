/* With this in LD_PRELOAD the folder WEAK_ROOT is on a file system that lacks some calls, as network
   shares, encrypted folders and mounts of buckets do. Each variable is the errno that comes back:

   WEAK_SYNC_FOLDER   fsync of a folder          WEAK_SYNC   fsync of a file
   WEAK_LOCK_FOLDER   flock of a folder          WEAK_LOCK   flock of a file
   WEAK_APPEND        opening a file that holds something to append to it
   WEAK_REPLACE       rename over a file         WEAK_LINK   hard links
   WEAK_DIRECT        writes past the page cache
   WEAK_SEEK          writes elsewhere than at the end, and opening to read and write */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int lacks(const char *call, const char *path)
{
    const char *code = getenv(call), *root = getenv("WEAK_ROOT");
    if (!code || !root || strncmp(path, root, strlen(root)))
        return 0;
    errno = atoi(code);
    return 1;
}

static int file_lacks(const char *call, int file)
{
    char link[64], path[4096];
    ssize_t length;
    if (!getenv(call))
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    length = readlink(link, path, sizeof path - 1);
    path[length < 0 ? 0 : length] = 0;
    return lacks(call, path);
}

static int is_folder(int file)
{
    struct stat found;
    return !fstat(file, &found) && S_ISDIR(found.st_mode);
}

int fsync(int file)
{
    return file_lacks(is_folder(file) ? "WEAK_SYNC_FOLDER" : "WEAK_SYNC", file) ? -1 : REAL(fsync)(file);
}

int flock(int file, int how)
{
    return file_lacks(is_folder(file) ? "WEAK_LOCK_FOLDER" : "WEAK_LOCK", file) ? -1 : REAL(flock)(file, how);
}

int rename(const char *from, const char *to)
{
    return !access(to, F_OK) && lacks("WEAK_REPLACE", to) ? -1 : REAL(rename)(from, to);
}

int link(const char *from, const char *to)
{
    return lacks("WEAK_LINK", to) ? -1 : REAL(link)(from, to);
}

ssize_t pwrite64(int file, const void *data, size_t count, off64_t place)
{
    struct stat found;
    if ((fcntl(file, F_GETFL) & O_DIRECT) && file_lacks("WEAK_DIRECT", file))
        return -1;
    if (!fstat(file, &found) && place != found.st_size && file_lacks("WEAK_SEEK", file))
        return -1;
    return REAL(pwrite64)(file, data, count, place);
}

ssize_t pwrite(int file, const void *data, size_t count, off_t place)
{
    return pwrite64(file, data, count, place);
}

static int may_not_open(const char *path, int flags)
{
    struct stat found;
    if ((flags & O_ACCMODE) == O_RDWR && lacks("WEAK_SEEK", path))
        return 1;
    return flags & O_APPEND && !stat(path, &found) && found.st_size && lacks("WEAK_APPEND", path);
}

#define MODE(flags)            \
    mode_t mode;               \
    va_list rest;              \
    va_start(rest, flags);     \
    mode = va_arg(rest, int);  \
    va_end(rest)

#define OPEN(name)                                                              \
    int name(const char *path, int flags, ...)                                  \
    {                                                                           \
        MODE(flags);                                                            \
        return may_not_open(path, flags) ? -1 : REAL(name)(path, flags, mode);  \
    }

#define OPEN_AT(name)                                                                   \
    int name(int folder, const char *path, int flags, ...)                              \
    {                                                                                   \
        MODE(flags);                                                                    \
        return may_not_open(path, flags) ? -1 : REAL(name)(folder, path, flags, mode);  \
    }

OPEN(open)
OPEN(open64)
OPEN_AT(openat)
OPEN_AT(openat64)
