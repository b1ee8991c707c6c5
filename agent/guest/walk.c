/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/guest/walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/open_inside.h"

/* A bind mount of the same file system has the device number of its parent, so openat2() looks for mounts. */
static DIR *open_below(int parent, const char *name)
{
    int fd =
        open_inside(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS);
    DIR *directory = fd >= 0 ? fdopendir(fd) : NULL;

    if (directory == NULL && fd >= 0)
        close(fd);
    return directory;
}

static DIR *open_root(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *directory = fd >= 0 ? fdopendir(fd) : NULL;

    if (directory == NULL && fd >= 0)
        close(fd);
    return directory;
}

static bool is_dots(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* ---- walking ---- */

enum { KEPT_OPEN = 64, LEVELS_FIRST = 64 };

/* A directory that the walk is in, or above. */
typedef struct {
    dev_t device;
    ino_t inode;
    DIR *directory; /* NULL: closed while the walk is below it, beyond KEPT_OPEN levels */
    long position;  /* of the next entry in a closed one */
} Level;

typedef struct {
    Level *levels;
    size_t n_levels;
    size_t room;
} Walk;

static Level *innermost(const Walk *walk)
{
    return &walk->levels[walk->n_levels - 1];
}

/* Takes the directory. */
static bool level_enter(Walk *walk, DIR *directory)
{
    struct stat status;

    if (walk->n_levels == walk->room) {
        size_t room = walk->room > 0 ? 2 * walk->room : LEVELS_FIRST;
        Level *levels = reallocarray(walk->levels, room, sizeof *levels);

        if (levels == NULL) {
            closedir(directory);
            return false;
        }
        walk->levels = levels;
        walk->room = room;
    }
    if (fstat(dirfd(directory), &status) != 0) {
        closedir(directory);
        return false;
    }
    if (walk->n_levels > KEPT_OPEN) {
        Level *above = innermost(walk);

        above->position = telldir(above->directory);
        closedir(above->directory);
        above->directory = NULL;
    }
    walk->levels[walk->n_levels++] =
        (Level){.device = status.st_dev, .inode = status.st_ino, .directory = directory};
    return true;
}

/* Opens the level again from the directory below it. A container may have moved that one meanwhile. */
static bool level_open_again(Level *level, DIR *below)
{
    DIR *directory = open_below(dirfd(below), "..");
    struct stat status;

    if (directory == NULL)
        return false;
    if (fstat(dirfd(directory), &status) != 0 || status.st_dev != level->device ||
        status.st_ino != level->inode) {
        closedir(directory);
        return false;
    }
    seekdir(directory, level->position);
    level->directory = directory;
    return true;
}

/* Goes on in the directory above, or in the nearest one that is still open. */
static void level_leave(Walk *walk)
{
    DIR *left = innermost(walk)->directory;

    walk->n_levels--;
    if (walk->n_levels > 0 && innermost(walk)->directory == NULL && !level_open_again(innermost(walk), left))
        while (innermost(walk)->directory == NULL)
            walk->n_levels--;
    closedir(left);
}

static bool walk_entry(Walk *walk, const char *name, void (*visit)(const struct stat *status, void *data),
                       void *data)
{
    int parent = dirfd(innermost(walk)->directory);
    struct stat status;
    DIR *directory;

    if (fstatat(parent, name, &status, AT_SYMLINK_NOFOLLOW) != 0)
        return true;
    if (!S_ISDIR(status.st_mode)) {
        visit(&status, data);
        return true;
    }
    directory = open_below(parent, name);
    if (directory == NULL)
        return true;
    visit(&status, data);
    return level_enter(walk, directory);
}

static void walk_end(Walk *walk)
{
    for (size_t i = 0; i < walk->n_levels; i++)
        if (walk->levels[i].directory != NULL)
            closedir(walk->levels[i].directory);
    free(walk->levels);
}

bool walk_tree(const char *path, void (*visit)(const struct stat *status, void *data), void *data)
{
    DIR *root = open_root(path);
    Walk walk = {0};
    struct stat status;
    bool good;

    if (root == NULL)
        return false;
    good = level_enter(&walk, root);
    if (good && fstat(dirfd(root), &status) == 0)
        visit(&status, data);
    while (good && walk.n_levels > 0) {
        struct dirent *entry = readdir(innermost(&walk)->directory);

        if (entry == NULL)
            level_leave(&walk);
        else if (!is_dots(entry->d_name))
            good = walk_entry(&walk, entry->d_name, visit, data);
    }
    walk_end(&walk);
    return good;
}

/* ---- removing ---- */

typedef struct {
    int root; /* the directory that is being removed */
    unsigned long long serial;
    bool progress; /* in this pass something was removed or moved up */
    int failed;    /* the first error of this pass; 0: none */
} Removal;

/* Return: 0; ENOTEMPTY for a directory with entries; another errno. */
static int remove_entry(int parent, const char *name)
{
    int code = unlinkat(parent, name, 0) == 0 ? 0 : errno;

    /* unlink() of a directory is EISDIR, on some file systems EPERM; so is that of a protected file. */
    if (code == EISDIR || code == EPERM)
        code = unlinkat(parent, name, AT_REMOVEDIR) == 0 ? 0 : errno == ENOTDIR ? code : errno;
    if (code == EEXIST)
        code = ENOTEMPTY;
    return code == ENOENT ? 0 : code;
}

static int move_up(Removal *removal, int parent, const char *name)
{
    char moved[48];
    int code = EEXIST;

    while (code == EEXIST) {
        snprintf(moved, sizeof moved, ".removed-%llu", removal->serial++);
        code = renameat2(parent, name, removal->root, moved, RENAME_NOREPLACE) == 0 ? 0 : errno;
    }
    return code == ENOENT ? 0 : code;
}

static void note(Removal *removal, int code)
{
    if (code == 0)
        removal->progress = true;
    else if (removal->failed == 0)
        removal->failed = code;
}

/* Empties and removes a directory of the root, whose own directories move up. */
static void remove_child(Removal *removal, const char *name)
{
    DIR *directory = open_below(removal->root, name);
    struct dirent *entry;

    if (directory == NULL) {
        note(removal, errno);
        return;
    }
    while ((entry = readdir(directory)) != NULL) {
        int code = is_dots(entry->d_name) ? ENOTDIR : remove_entry(dirfd(directory), entry->d_name);

        if (code == ENOTEMPTY)
            code = move_up(removal, dirfd(directory), entry->d_name);
        if (!is_dots(entry->d_name))
            note(removal, code);
    }
    closedir(directory);
    note(removal, remove_entry(removal->root, name));
}

/* readdir() may miss entries while others are removed or added, so passes are made as long as one helps. */
static void remove_pass(Removal *removal, DIR *root)
{
    struct dirent *entry;

    removal->progress = false;
    removal->failed = 0;
    rewinddir(root);
    while ((entry = readdir(root)) != NULL) {
        int code;

        if (is_dots(entry->d_name))
            continue;
        code = remove_entry(removal->root, entry->d_name);
        if (code == ENOTEMPTY)
            remove_child(removal, entry->d_name);
        else
            note(removal, code);
    }
}

bool walk_remove(const char *path)
{
    int code = remove_entry(AT_FDCWD, path);
    Removal removal = {.progress = true};
    DIR *root;

    if (code != ENOTEMPTY) {
        errno = code;
        return code == 0;
    }
    root = open_root(path);
    if (root == NULL)
        return false;
    removal.root = dirfd(root);
    while (removal.progress)
        remove_pass(&removal, root);
    closedir(root);
    code = remove_entry(AT_FDCWD, path);
    errno = removal.failed != 0 ? removal.failed : code;
    return code == 0;
}
