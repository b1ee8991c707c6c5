/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/guest/user.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/open_inside.h"

enum { DATABASE_MAX_BYTES = 4 << 20 };

typedef struct {
    char *text; /* NULL: the file does not exist */
} Database;

/* One line of /etc/passwd (name:x:uid:gid:comment:home:…) or /etc/group (name:x:gid:members). number is the
 * uid or the gid; *_fits is false when the text of an id is not a number from 0 to USER_ID_MAX. A field that
 * is missing is NULL. */
typedef struct {
    const char *name, *number_text, *gid_text, *home;
    bool number_fits, gid_fits;
    uint32_t number, gid;
    char *members;
} Entry;

static bool database_open(int rootfs_fd, const char *path, int *ret_fd, Fault *ret_fault)
{
    int fd = open_inside(rootfs_fd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY,
                         RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
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

/* A text of digits alone, or of digits after a sign, is an id and never a name. */
static bool is_number(const char *text)
{
    size_t sign = text[0] == '-' || text[0] == '+' ? 1 : 0;
    return text[sign] != '\0' && strspn(text + sign, "0123456789") == strlen(text + sign);
}

static bool parse_id(const char *text, uint32_t *ret_id)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (!isdigit((unsigned char)*text) || *end != '\0' || errno != 0 || value > USER_ID_MAX)
        return false;
    *ret_id = (uint32_t)value;
    return true;
}

/* Splits the next line with a name and an id in place; other lines are skipped. is_passwd: the text is
 * /etc/passwd. */
static bool next_entry(char **rest, bool is_passwd, Entry *ret_entry)
{
    while (*rest != NULL && **rest != '\0') {
        char *line = strsep(rest, "\n");
        Entry entry = {.name = strsep(&line, ":")};
        strsep(&line, ":"); /* the password */
        entry.number_text = strsep(&line, ":");
        if (entry.number_text == NULL || entry.number_text[0] == '\0' || entry.name[0] == '\0')
            continue;
        entry.number_fits = parse_id(entry.number_text, &entry.number);
        if (is_passwd) {
            entry.gid_text = strsep(&line, ":");
            if (entry.gid_text == NULL || entry.gid_text[0] == '\0')
                continue;
            entry.gid_fits = parse_id(entry.gid_text, &entry.gid);
            strsep(&line, ":"); /* the comment */
            entry.home = strsep(&line, ":");
        } else {
            entry.members = strsep(&line, ":");
        }
        *ret_entry = entry;
        return true;
    }
    return false;
}

/* Finds the first entry with that name or, when name is NULL, with that number. The strings of the entry are
 * in *ret_copy, which the caller frees. Lines are split in place, so each look-up works on a copy. */
static bool find_entry(const Database *database, bool is_passwd, const char *name, uint32_t number,
                       char **ret_copy, Entry *ret_entry)
{
    char *copy = database->text != NULL ? strdup(database->text) : NULL;
    char *rest = copy;
    bool found = false;
    while (!found && next_entry(&rest, is_passwd, ret_entry))
        found = name != NULL ? strcmp(ret_entry->name, name) == 0
                             : ret_entry->number_fits && ret_entry->number == number;
    *ret_copy = copy;
    return found;
}

static bool fault_bad_id(const char *file, const char *name, const char *kind, const char *text,
                         Fault *ret_fault)
{
    return fault(ret_fault, FAULT_INVALID_ARGUMENT,
                 "%s of the container gives %s the %s \"%s\", which is not a number from 0 to %u", file, name,
                 kind, text, USER_ID_MAX);
}

static bool entry_check(const Entry *entry, bool is_passwd, Fault *ret_fault)
{
    const char *file = is_passwd ? "/etc/passwd" : "/etc/group";
    if (!entry->number_fits)
        return fault_bad_id(file, entry->name, is_passwd ? "uid" : "gid", entry->number_text, ret_fault);
    if (is_passwd && !entry->gid_fits)
        return fault_bad_id(file, entry->name, "gid", entry->gid_text, ret_fault);
    return true;
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

static bool add_groups_of(Identity *identity, const Database *groups, const char *name, Fault *ret_fault)
{
    char *copy = groups->text != NULL ? strdup(groups->text) : NULL;
    char *rest = copy;
    bool ok = true;
    Entry entry;
    while (ok && next_entry(&rest, false, &entry)) {
        if (entry.members == NULL || !is_member(entry.members, name))
            continue;
        ok = entry_check(&entry, false, ret_fault);
        if (ok)
            add_group(identity, entry.number);
    }
    free(copy);
    return ok;
}

static const char *given(const char *name)
{
    return name != NULL && name[0] != '\0' ? name : NULL;
}

static bool take_entry(const Entry *entry, Identity *identity, char *ret_name, size_t room, Fault *ret_fault)
{
    if (!entry_check(entry, true, ret_fault))
        return false;
    identity->uid = entry->number;
    identity->gid = entry->gid;
    if (entry->home != NULL && entry->home[0] != '\0' && strlen(entry->home) < sizeof identity->home)
        strcpy(identity->home, entry->home); /* NOLINT: the length has been checked */
    snprintf(ret_name, room, "%s", entry->name);
    return true;
}

/* text: the id as it was given, for the message. */
static bool check_id(bool fits, const char *kind, const char *text, Fault *ret_fault)
{
    return fits ||
           fault(ret_fault, FAULT_INVALID_ARGUMENT,
                 "%s id %s is out of range: it must be a number from 0 to %u", kind, text, USER_ID_MAX);
}

/* The id that is given as a number: by the name or, without a name, by `number`, where -1 means that none is
 * given. */
static bool numeric_id(const char *name, int64_t number, const char *kind, bool *ret_given, uint32_t *ret_id,
                       Fault *ret_fault)
{
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)number);
    *ret_given = name != NULL ? is_number(name) : number != -1;
    return !*ret_given || check_id(parse_id(name != NULL ? name : text, ret_id), kind,
                                   name != NULL ? name : text, ret_fault);
}

/* Finds the uid, its primary gid, its home, and its name; *ret_name is empty for a number without an entry.
 */
static bool resolve_user(const Database *users, const User *want, Identity *identity, char *ret_name,
                         size_t room, Fault *ret_fault)
{
    const char *name = given(want->name);
    bool is_id, ok = true;
    char *copy;
    Entry entry;

    ret_name[0] = '\0';
    if (!numeric_id(name, want->uid, "user", &is_id, &identity->uid, ret_fault))
        return false;
    bool by_name = name != NULL && !is_id;
    if (find_entry(users, true, by_name ? name : NULL, identity->uid, &copy, &entry))
        ok = take_entry(&entry, identity, ret_name, room, ret_fault);
    else if (by_name)
        ok = fault(ret_fault, FAULT_INVALID_ARGUMENT,
                   "unable to find user %s: no matching entries in passwd file", name);
    free(copy);
    return ok;
}

static bool resolve_group(const Database *groups, const User *want, Identity *identity, Fault *ret_fault)
{
    const char *name = given(want->group);
    bool is_id, ok = true;
    char *copy;
    Entry entry;

    if (!numeric_id(name, want->gid, "group", &is_id, &identity->gid, ret_fault))
        return false;
    if (is_id || name == NULL)
        return true;
    if (!find_entry(groups, false, name, 0, &copy, &entry))
        ok = fault(ret_fault, FAULT_INVALID_ARGUMENT,
                   "unable to find group %s: no matching entries in group file", name);
    else
        ok = entry_check(&entry, false, ret_fault);
    if (ok)
        identity->gid = entry.number;
    free(copy);
    return ok;
}

bool user_resolve(int rootfs_fd, const User *want, Identity *ret_identity, Fault *ret_fault)
{
    static const User root = {.name = (char *)"", .group = (char *)"", .uid = -1, .gid = -1};
    Database users = {NULL}, groups = {NULL};
    Identity identity = {.home = "/"};
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
        for (size_t i = 0; i < want->n_groups && ok; i++) {
            ok = check_id(want->groups[i] <= USER_ID_MAX, "supplemental group", "4294967295", ret_fault);
            add_group(&identity, want->groups[i]);
        }
        if (ok && !want->strict_groups && name[0] != '\0')
            ok = add_groups_of(&identity, &groups, name, ret_fault);
    }
    if (ok)
        *ret_identity = identity;
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
