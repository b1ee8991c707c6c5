/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/guest/node.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/magic.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "agent/guest/boot.h"
#include "agent/guest/fault.h"
#include "agent/guest/paths.h"
#include "agent/guest/setup.h"
#include "agent/guest/sysfile.h"

typedef struct {
    const char *socket, *upper, *share, *netns;
    bool node_ipc;
} Options;

static int listener = -1;

static bool node_complain(const char *what)
{
    complain("%s: %s", what, strerror(errno));
    return false;
}

static bool node_read_options(int argc, char **argv, Options *options)
{
    static const struct option known[] = {
        {"socket", required_argument, NULL, 's'}, {"upper", required_argument, NULL, 'u'},
        {"share", required_argument, NULL, 'v'},  {"netns", required_argument, NULL, 'n'},
        {"node-ipc", no_argument, NULL, 'i'},     {NULL, 0, NULL, 0},
    };
    for (int c = getopt_long(argc, argv, "", known, NULL); c != -1;
         c = getopt_long(argc, argv, "", known, NULL)) {
        switch (c) {
        case 's':
            options->socket = optarg;
            break;
        case 'u':
            options->upper = optarg;
            break;
        case 'v':
            options->share = optarg;
            break;
        case 'n':
            options->netns = optarg;
            break;
        case 'i':
            options->node_ipc = true;
            break;
        default:
            return false; /* getopt has written why */
        }
    }
    errno = EINVAL;
    return (options->socket != NULL && options->upper != NULL && options->share != NULL && optind == argc) ||
           node_complain(NODE_OPTION " needs --socket, --upper and --share");
}

/* Called before the mounts are made, because they may hide the directory of the socket. */
static bool node_listen(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return node_complain(path);
    }
    strcpy(address.sun_path, path); /* NOLINT: it fits */
    unlink(path);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    mode_t before = umask(0177);
    bool bound = listener >= 0 && bind(listener, (const struct sockaddr *)&address, sizeof address) == 0 &&
                 listen(listener, 4) == 0;
    int problem = errno;
    umask(before);
    errno = problem;
    return bound || node_complain(path);
}

static bool node_enter_network(const char *path)
{
    if (path == NULL)
        return true;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool entered = fd >= 0 && setns(fd, CLONE_NEWNET) == 0;
    if (!entered)
        node_complain(path);
    if (fd >= 0)
        close(fd);
    return entered;
}

/* Copies the mount at path, without propagation. Return: its descriptor, -1 on failure. */
static int node_clone_mount(const char *path)
{
    struct mount_attr alone = {.propagation = MS_PRIVATE};
    int tree = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (tree >= 0 && mount_setattr(tree, "", AT_EMPTY_PATH, &alone, sizeof alone) < 0) {
        close(tree);
        tree = -1;
    }
    if (tree < 0)
        node_complain(path);
    return tree;
}

static bool node_put_mount(int tree, const char *path)
{
    return move_mount(tree, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH) == 0 || node_complain(path);
}

/* Mounts a tmpfs at RUN_DIR in the agent's mount namespace only, so that the agent's files have the same
 * paths as in a guest. The node's directories below RUN_DIR that the agent needs are copied into it. */
static bool node_make_mounts(const Options *options)
{
    int upper = node_clone_mount(options->upper), share = node_clone_mount(options->share);
    bool made = upper >= 0 && share >= 0;

    if (made && mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
        made = node_complain("making the node's mounts appear in the agent's namespace");
    if (made && mkdir(RUN_DIR, 0755) < 0 && errno != EEXIST)
        made = node_complain(RUN_DIR);
    if (made && mount("crivirt", RUN_DIR, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755") < 0)
        made = node_complain("mounting " RUN_DIR);
    if (made) {
        boot_directories();
        made = node_put_mount(upper, UPPER_DIR) && node_put_mount(share, SHARE_DIR);
    }
    if (upper >= 0)
        close(upper);
    if (share >= 0)
        close(share);
    return made;
}

/* On a node with both versions of cgroups, crun refuses version 1 when version 2 has any controller, so
 * version 2 is unmounted in the agent's namespace. A tmpfs at the root of the hierarchies shows that both are
 * there. */
static void node_hide_cgroup_v2(void)
{
    struct statfs root;
    if (statfs(CGROUP_ROOT, &root) == 0 && root.f_type == TMPFS_MAGIC)
        umount2(CGROUP_ROOT "/unified", MNT_DETACH);
}

static bool node_mount_shm(void)
{
    Fault error;
    if (!dir_put(SANDBOX_DIR "/shm", 01777, &error)) {
        complain("%s", error.message);
        return false;
    }
    return mount("/dev/shm", SANDBOX_DIR "/shm", NULL, MS_BIND, NULL) == 0 || node_complain("/dev/shm");
}

bool node_enter(int argc, char **argv)
{
    Options options = {NULL};
    pid_t parent = getppid();

    if (!node_read_options(argc, argv, &options))
        return false;
    prctl(PR_SET_NAME, "crivirt-agent");
    prctl(PR_SET_DUMPABLE, 0);             /* no core file: the agent's memory has the secrets of its pod */
    prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0); /* the daemon gives up huge pages, containers do not */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
        return node_complain("following the end of the daemon");
    setsid();
    if (!node_listen(options.socket) || !node_enter_network(options.netns))
        return false;
    if (unshare(CLONE_NEWNS | CLONE_NEWUTS | (options.node_ipc ? 0 : CLONE_NEWIPC)) < 0)
        return node_complain("unsharing namespaces");
    if (!node_make_mounts(&options) || (options.node_ipc && !node_mount_shm()))
        return false;
    node_hide_cgroup_v2();
    setup_given(options.node_ipc, true);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
    return chdir("/") == 0 || node_complain("/");
}

bool node_is_entered(void)
{
    return listener >= 0;
}

int node_socket(void)
{
    return listener;
}

void node_ready(void)
{
    static const char line[] = "ready\n";
    prctl(PR_SET_PDEATHSIG, 0);
    if (write(STDOUT_FILENO, line, sizeof line - 1) < 0)
        node_complain("reporting that the agent is ready");
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null >= 0) {
        dup2(null, STDIN_FILENO);
        dup2(null, STDOUT_FILENO);
        close(null);
    }
}
