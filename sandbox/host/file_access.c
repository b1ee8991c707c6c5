/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/host/file_access.h"

#include <errno.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "common/error.h"

#define ACL_ATTRIBUTE "system.posix_acl_access"
/* What Linux takes in an extended attribute. */
enum { ACL_MAX_BYTES = 1 << 16 };

typedef struct posix_acl_xattr_entry Entry;

static GMutex changes;

static Entry entry_make(guint tag, guint permissions, guint id)
{
    return (Entry){
        .e_tag = GUINT16_TO_LE(tag), .e_perm = GUINT16_TO_LE(permissions), .e_id = GUINT32_TO_LE(id)};
}

static guint entry_tag(const Entry *entry)
{
    return GUINT16_FROM_LE(entry->e_tag);
}

/* The kernel wants the entries by tag, and named ones by id. */
static gint entry_compare(gconstpointer a, gconstpointer b)
{
    const Entry *one = a;
    const Entry *other = b;
    guint id = GUINT32_FROM_LE(one->e_id);
    guint other_id = GUINT32_FROM_LE(other->e_id);

    if (entry_tag(one) != entry_tag(other))
        return entry_tag(one) < entry_tag(other) ? -1 : 1;
    return id < other_id ? -1 : id > other_id;
}

/* A file without an ACL has one that its permissions imply. Return: an array of Entry, the caller's. */
static GArray *acl_read(const char *path, GError **error)
{
    g_autofree guint8 *bytes = g_malloc(ACL_MAX_BYTES);
    const gsize header = sizeof(struct posix_acl_xattr_header);
    g_autoptr(GArray) acl = g_array_new(FALSE, FALSE, sizeof(Entry));
    gssize length = getxattr(path, ACL_ATTRIBUTE, bytes, ACL_MAX_BYTES);
    struct stat status;

    if (length >= (gssize)header) {
        g_array_append_vals(acl, bytes + header, (guint)(((gsize)length - header) / sizeof(Entry)));
        return g_steal_pointer(&acl);
    }
    if ((length < 0 && errno != ENODATA && errno != EOPNOTSUPP) || stat(path, &status) != 0) {
        fail_errno(error, errno, "cannot read who may open %s", path);
        return NULL;
    }
    const Entry implied[] = {
        entry_make(ACL_USER_OBJ, status.st_mode >> 6 & 7, (guint)ACL_UNDEFINED_ID),
        entry_make(ACL_GROUP_OBJ, status.st_mode >> 3 & 7, (guint)ACL_UNDEFINED_ID),
        entry_make(ACL_OTHER, status.st_mode & 7, (guint)ACL_UNDEFINED_ID),
    };

    g_array_append_vals(acl, implied, G_N_ELEMENTS(implied));
    return g_steal_pointer(&acl);
}

/* Without named entries the ACL is again what the file's permissions imply, and the kernel keeps none. */
static gboolean acl_write(const char *path, GArray *acl, GError **error)
{
    const struct posix_acl_xattr_header header = {.a_version = GUINT32_TO_LE(POSIX_ACL_XATTR_VERSION)};
    g_autoptr(GByteArray) bytes = g_byte_array_new();

    g_array_sort(acl, entry_compare);
    g_byte_array_append(bytes, (const guint8 *)&header, sizeof header);
    g_byte_array_append(bytes, (const guint8 *)acl->data, acl->len * (guint)sizeof(Entry));
    if (setxattr(path, ACL_ATTRIBUTE, bytes->data, bytes->len, 0) == 0)
        return TRUE;
    if (errno == EOPNOTSUPP)
        return fail(
            error, STATUS_FAILED_PRECONDITION,
            "cannot let single groups open %s: its file system has no ACLs; set hypervisor.vm_users to "
            "0 for all VMs to run as one user",
            path);
    return fail_errno(error, errno, "cannot change who may open %s", path);
}

/* Return: whether the group had an entry. */
static gboolean acl_remove_group(GArray *acl, gid_t group)
{
    gboolean found = FALSE;

    for (guint i = acl->len; i-- > 0;) {
        const Entry *entry = &g_array_index(acl, Entry, i);

        if (entry_tag(entry) == ACL_GROUP && GUINT32_FROM_LE(entry->e_id) == group) {
            g_array_remove_index(acl, i);
            found = TRUE;
        }
    }
    return found;
}

/* The mask allows what the entries do that it limits. An ACL without named entries has none. */
static void acl_set_mask(GArray *acl)
{
    guint allowed = 0;
    gboolean named = FALSE;
    Entry mask;

    for (guint i = acl->len; i-- > 0;) {
        const Entry *entry = &g_array_index(acl, Entry, i);
        guint tag = entry_tag(entry);

        if (tag == ACL_MASK) {
            g_array_remove_index(acl, i);
            continue;
        }
        named = named || tag == ACL_USER || tag == ACL_GROUP;
        if (tag == ACL_USER || tag == ACL_GROUP || tag == ACL_GROUP_OBJ)
            allowed |= GUINT16_FROM_LE(entry->e_perm);
    }
    mask = entry_make(ACL_MASK, allowed, (guint)ACL_UNDEFINED_ID);
    if (named)
        g_array_append_val(acl, mask);
}

/* chmod changes the mask of a file that has one, and not its group's entry. Without this, what a chmod has
 * taken away while a group was let in would come back with the next change. */
static void acl_apply_mask(GArray *acl)
{
    guint allowed = ACL_READ | ACL_WRITE | ACL_EXECUTE;

    for (guint i = 0; i < acl->len; i++)
        if (entry_tag(&g_array_index(acl, Entry, i)) == ACL_MASK)
            allowed = GUINT16_FROM_LE(g_array_index(acl, Entry, i).e_perm);
    for (guint i = 0; i < acl->len; i++) {
        Entry *entry = &g_array_index(acl, Entry, i);
        guint tag = entry_tag(entry);

        if (tag == ACL_USER || tag == ACL_GROUP || tag == ACL_GROUP_OBJ)
            entry->e_perm &= GUINT16_TO_LE(allowed);
    }
}

/* permissions: 0 takes the group's entry away. */
static gboolean change(const char *path, gid_t group, guint permissions, GError **error)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&changes);
    g_autoptr(GArray) acl = acl_read(path, error);
    const Entry entry = entry_make(ACL_GROUP, permissions, group);

    (void)locker;
    if (acl == NULL)
        return FALSE;
    if (!acl_remove_group(acl, group) && permissions == 0)
        return TRUE;
    acl_apply_mask(acl);
    if (permissions != 0)
        g_array_append_val(acl, entry);
    acl_set_mask(acl);
    return acl_write(path, acl, error);
}

gboolean file_access_grant(const char *path, gid_t group, gboolean writes, GError **error)
{
    return change(path, group, ACL_READ | (writes ? ACL_WRITE : 0), error);
}

gboolean file_access_revoke(const char *path, gid_t group, GError **error)
{
    return change(path, group, 0, error);
}
