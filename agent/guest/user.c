/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/guest/user.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { DATABASE_MAX_BYTES = 4 << 20 };

typedef struct {
    char *text; /* NULL: the file does not exist */
} Database;

/* One line of /etc/passwd (name:x:uid:gid:…) or /etc/group (name:x:gid:members). */
typedef struct {
    const char *name;
    uint32_t number, gid;
    char *members;
} Entry;

static bool database_open(int rootfs_fd, const char *path, int *ret_fd, Fault *ret_fault)
{
    struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
                           .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
    int fd = (int)syscall(SYS_openat2, rootfs_fd, path, &how, sizeof how);
    struct stat status;
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR)) {
        *ret_fd = -1;
        return true;
    }
    if (fd < 0)
        return fault_errno(ret_fault, "opening the container's /%s", path);
    if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode) || status.st_size > DATABASE_MAX_BYTES) {
        close(fd);
        return fault(ret_fault, FAULT_INVALID_ARGUMENT,
                     "the container's /%s is not a regular file of at most %d bytes", path,
                     DATABASE_MAX_BYTES);
    }
    *ret_fd = fd;
    return true;
}

static bool database_load(int rootfs_fd, const char *path, Database *ret_database, Fault *ret_fault)
{
    int fd = -1;
    if (!database_open(rootfs_fd, path, &fd, ret_fault))
        return false;
    ret_database->text = NULL;
    if (fd < 0)
        return true;

    size_t room = 1, length = 0;
    struct stat status;
    if (fstat(fd, &status) == 0)
        room += (size_t)status.st_size;
    char *text = malloc(room);
    ssize_t n = 0;
    while (text != NULL && length < room - 1 && (n = read(fd, text + length, room - 1 - length)) > 0)
        length += (size_t)n;
    close(fd);
    if (text == NULL || n < 0) {
        free(text);
        return fault(ret_fault, FAULT_INTERNAL, "the container's /%s cannot be read", path);
    }
    text[length] = '\0';
    ret_database->text = text;
    return true;
}

static bool parse_id(const char *text, uint32_t *ret_id)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (!isdigit((unsigned char)*text) || *end != '\0' || errno != 0 || value >= UINT32_MAX)
        return false;
    *ret_id = (uint32_t)value;
    return true;
}

/* Splits the next well-formed line in place; other lines are skipped. with_gid: the text is /etc/passwd. */
static bool next_entry(char **rest, bool with_gid, Entry *ret_entry)
{
    while (*rest != NULL && **rest != '\0') {
        char *line = strsep(rest, "\n");
        char *name = strsep(&line, ":");
        strsep(&line, ":"); /* the password */
        char *number = strsep(&line, ":");
        char *field = line != NULL ? strsep(&line, ":") : NULL;
        Entry entry = {.name = name, .members = field};
        if (number == NULL || name[0] == '\0' || !parse_id(number, &entry.number))
            continue;
        if (with_gid && (field == NULL || !parse_id(field, &entry.gid)))
            continue;
        *ret_entry = entry;
        return true;
    }
    return false;
}

/* next_entry() splits lines in place, so each look-up works on a copy. */
static bool find_entry(const Database *database, bool with_gid, const char *name, uint32_t number,
                       char *ret_name, size_t room, Entry *ret_entry)
{
    char *copy = database->text != NULL ? strdup(database->text) : NULL;
    char *rest = copy;
    bool found = false;
    Entry entry;
    while (!found && next_entry(&rest, with_gid, &entry))
        found = name != NULL ? strcmp(entry.name, name) == 0 : entry.number == number;
    if (found) {
        snprintf(ret_name, room, "%s", entry.name);
        *ret_entry = entry;
        ret_entry->name = ret_name;
        ret_entry->members = NULL;
    }
    free(copy);
    return found;
}

static void add_group(Identity *identity, uint32_t gid)
{
    for (uint32_t i = 0; i < identity->n_groups; i++)
        if (identity->groups[i] == gid)
            return;
    if (identity->n_groups < USER_GROUPS_MAX)
        identity->groups[identity->n_groups++] = gid;
}

static bool is_member(char *members, const char *name)
{
    for (char *member = strsep(&members, ","); member != NULL; member = strsep(&members, ","))
        if (strcmp(member, name) == 0)
            return true;
    return false;
}

static void add_groups_of(Identity *identity, const Database *groups, const char *name)
{
    char *copy = groups->text != NULL ? strdup(groups->text) : NULL;
    char *rest = copy;
    Entry entry;
    while (next_entry(&rest, false, &entry))
        if (entry.members != NULL && is_member(entry.members, name))
            add_group(identity, entry.number);
    free(copy);
}

static const char *given(const char *name)
{
    return name != NULL && name[0] != '\0' ? name : NULL;
}

/* Finds the uid, its primary gid, and its name; *ret_name is empty for a number without an entry. */
static bool resolve_user(const Database *users, const User *want, Identity *identity, char *ret_name,
                         size_t room, Fault *ret_fault)
{
    const char *name = given(want->name);
    uint32_t uid = 0;
    Entry entry;

    ret_name[0] = '\0';
    if (name != NULL && find_entry(users, true, name, 0, ret_name, room, &entry)) {
        identity->uid = entry.number;
        identity->gid = entry.gid;
        return true;
    }
    if (name != NULL && !parse_id(name, &uid))
        return fault(ret_fault, FAULT_INVALID_ARGUMENT,
                     "unable to find user %s: no matching entries in passwd file", name);
    if (name == NULL && want->uid >= (int64_t)UINT32_MAX)
        return fault(ret_fault, FAULT_INVALID_ARGUMENT, "user id %lld is out of range", (long long)want->uid);
    if (name == NULL)
        uid = want->uid >= 0 ? (uint32_t)want->uid : 0;
    identity->uid = uid;
    identity->gid = find_entry(users, true, NULL, uid, ret_name, room, &entry) ? entry.gid : 0;
    return true;
}

static bool resolve_group(const Database *groups, const User *want, Identity *identity, Fault *ret_fault)
{
    const char *name = given(want->group);
    char found_name[256];
    Entry entry;

    if (name == NULL && want->gid >= (int64_t)UINT32_MAX)
        return fault(ret_fault, FAULT_INVALID_ARGUMENT, "group id %lld is out of range",
                     (long long)want->gid);
    if (name == NULL) {
        if (want->gid >= 0)
            identity->gid = (uint32_t)want->gid;
        return true;
    }
    if (find_entry(groups, false, name, 0, found_name, sizeof found_name, &entry)) {
        identity->gid = entry.number;
        return true;
    }
    if (!parse_id(name, &identity->gid))
        return fault(ret_fault, FAULT_INVALID_ARGUMENT,
                     "unable to find group %s: no matching entries in group file", name);
    return true;
}

bool user_resolve(int rootfs_fd, const User *want, Identity *ret_identity, Fault *ret_fault)
{
    static const User root = {.name = (char *)"", .group = (char *)"", .uid = -1, .gid = -1};
    Database users = {NULL}, groups = {NULL};
    Identity identity = {.n_groups = 0};
    char name[256];

    if (want == NULL)
        want = &root;
    if (want->n_groups >= USER_GROUPS_MAX)
        return fault(ret_fault, FAULT_INVALID_ARGUMENT, "more than %d supplemental groups", USER_GROUPS_MAX);
    bool ok = database_load(rootfs_fd, "etc/passwd", &users, ret_fault) &&
              database_load(rootfs_fd, "etc/group", &groups, ret_fault) &&
              resolve_user(&users, want, &identity, name, sizeof name, ret_fault) &&
              resolve_group(&groups, want, &identity, ret_fault);
    if (ok) {
        add_group(&identity, identity.gid);
        for (size_t i = 0; i < want->n_groups; i++)
            add_group(&identity, want->groups[i]);
        if (!want->strict_groups && name[0] != '\0')
            add_groups_of(&identity, &groups, name);
        *ret_identity = identity;
    }
    free(users.text);
    free(groups.text);
    return ok;
}

size_t user_to_json(const Identity *identity, char *ret_json, size_t room)
{
    int length =
        snprintf(ret_json, room, "{\"uid\":%u,\"gid\":%u,\"additionalGids\":[", identity->uid, identity->gid);
    for (uint32_t i = 0; i < identity->n_groups && length < (int)room; i++)
        length +=
            snprintf(ret_json + length, room - (size_t)length, "%s%u", i > 0 ? "," : "", identity->groups[i]);
    if (length + 3 > (int)room)
        return 0;
    memcpy(ret_json + length, "]}", 3);
    return (size_t)length + 2;
}
