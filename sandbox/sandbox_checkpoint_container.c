/* SPDX-License-Identifier: Apache-2.0 */
/* CheckpointContainer: saves the pod of a container with that container alone, as an archive.
 *
 * The checkpoint is made in a directory of the daemon's own, because the pod stands still while it is
 * written: the archive is written from it when the pod runs again. The archive gets its name when it is
 * whole, so that nothing of it is left by a daemon that is killed; the next daemon removes the directory.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/error.h"
#include "common/fileio.h"
#include "common/log.h"
#include "sandbox/checkpoint/checkpoint_archive.h"
#include "sandbox/pods/container.h"
#include "sandbox/pods/pod_table.h"
#include "sandbox/sandbox.h"
#include "sandbox/sandbox_checkpoint.h"

/* Where the archive gets its name. */
typedef struct {
    int folder;
    const char *name; /* of the request */
    int file;         /* without a name */
} Target;

static gboolean location_check(const char *location, GError **error)
{
    const char *name = strrchr(location, '/');

    if (*location != '/')
        return fail(error, STATUS_INVALID_ARGUMENT, "location: \"%s\" is not absolute", location);
    return (name[1] != '\0' && !g_str_equal(name, "/.") && !g_str_equal(name, "/..")) ||
           fail(error, STATUS_INVALID_ARGUMENT, "location: \"%s\" does not name a file", location);
}

static gboolean target_make(Target *target, const char *location, GError **error)
{
    struct stat status;

    if (fstatat(target->folder, target->name, &status, AT_SYMLINK_NOFOLLOW) == 0)
        return fail(error, STATUS_ALREADY_EXISTS, "location: %s exists", location);
    target->file = openat(target->folder, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    return target->file >= 0 || fail_errno(error, errno, "location: cannot make a file for %s", location);
}

static gboolean target_open(const char *location, Target *ret_target, GError **error)
{
    g_autofree char *parent = NULL;
    Target target = {.folder = -1, .file = -1};

    if (!location_check(location, error))
        return FALSE;
    parent = g_path_get_dirname(location);
    target.name = strrchr(location, '/') + 1;
    target.folder = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (target.folder < 0)
        return fail_errno(error, errno, "location: cannot open the directory %s", parent);
    if (!target_make(&target, location, error)) {
        close(target.folder);
        return FALSE;
    }
    *ret_target = target;
    return TRUE;
}

static void target_close(Target *target)
{
    close(target->file);
    close(target->folder);
}

static gboolean target_name(const Target *target, const char *location, GError **error)
{
    g_autofree char *file = g_strdup_printf("/proc/self/fd/%d", target->file);

    if (fsync(target->file) != 0 ||
        linkat(AT_FDCWD, file, target->folder, target->name, AT_SYMLINK_FOLLOW) != 0)
        return fail_errno(error, errno, "location: cannot make %s", location);
    if (fsync(target->folder) == 0)
        return TRUE;
    fail_errno(error, errno, "location: cannot finish %s", location);
    unlinkat(target->folder, target->name, 0);
    return FALSE;
}

static gboolean archive_fill(const Target *target, const char *saved, const Deadline *deadline,
                             GError **error)
{
    int directory = open(saved, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    gboolean good;

    if (directory < 0)
        return fail_errno(error, errno, "cannot open %s", saved);
    good = checkpoint_archive_write(directory, target->file, deadline, error);
    close(directory);
    return good;
}

static gboolean archive_make(SandboxManager *manager, const Container *container, const Target *target,
                             const char *location, const char *saved, const Deadline *deadline,
                             GError **error)
{
    Runtime__V1__CheckpointPodRequest request = RUNTIME__V1__CHECKPOINT_POD_REQUEST__INIT;
    char *ids[] = {container->id};

    request.pod_sandbox_id = container->pod->id;
    request.output_path = (char *)saved;
    request.container_ids = ids;
    request.n_container_ids = G_N_ELEMENTS(ids);
    return sandbox_checkpoint(manager, &request, deadline, error) &&
           archive_fill(target, saved, deadline, error) &&
           deadline_check(deadline, "finishing the checkpoint", error) &&
           target_name(target, location, error);
}

char *sandbox_checkpoint_scratch(const SandboxManager *manager)
{
    return g_build_filename(manager->guests.state_dir, "checkpoint-archives", NULL);
}

static gboolean saved_to(SandboxManager *manager, const Container *container, const Target *target,
                         const char *location, const Deadline *deadline, GError **error)
{
    g_autofree char *scratch = sandbox_checkpoint_scratch(manager);
    g_autofree char *saved = g_build_filename(scratch, "save-XXXXXX", NULL);
    gboolean good;

    if (!dir_make(scratch, 0700, error))
        return FALSE;
    if (mkdtemp(saved) == NULL)
        return fail_errno(error, errno, "cannot make a directory in %s", scratch);
    good = archive_make(manager, container, target, location, saved, deadline, error);
    dir_remove_tree(saved, NULL); /* what cannot be removed now, the next daemon removes */
    return good;
}

gboolean sandbox_checkpoint_container(SandboxManager *manager,
                                      const Runtime__V1__CheckpointContainerRequest *request,
                                      const Deadline *deadline, GError **error)
{
    g_autoptr(Container) container = manager_find_container(manager, request->container_id, error);
    Deadline bounded = *deadline;
    Target target = {.folder = -1, .file = -1};
    gboolean good;

    if (container == NULL)
        return FALSE;
    if (request->timeout < 0)
        return fail(error, STATUS_INVALID_ARGUMENT, "timeout: %" G_GINT64_FORMAT " is negative",
                    request->timeout);
    if (request->timeout > 0)
        bounded = deadline_sooner(deadline, MIN(request->timeout, G_MAXINT32) * 1000);
    if (container_state(container) != CONTAINER_RUNNING_STATE)
        return fail(error, STATUS_FAILED_PRECONDITION, "container %s is not running", container->id);
    if (!target_open(request->location, &target, error))
        return FALSE;
    good = saved_to(manager, container, &target, request->location, &bounded, error);
    target_close(&target);
    if (good)
        log_info(LOG_FIELDS("sandbox", container->pod->id, "container", container->id),
                 "checkpoint of the container made: %s", request->location);
    return good;
}
