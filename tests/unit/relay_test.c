/* SPDX-License-Identifier: Apache-2.0 */
/* fsguard's relay with a real virtiofsd, which is killed and replaced. The test plays QEMU and the guest. */
#include "sandbox/vmm/fsguard/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sandbox/vmm/fsguard/relay_state.h"
#include "tests/tools/fs_guest.h"
#include "tests/unit/harness.h"

enum { ROOT = 1 };

static char *top; /* what the share shows */

static char *node_path(const char *name)
{
    return g_build_filename(top, name, NULL);
}

static void put_file(const char *name, const char *text)
{
    g_autofree char *path = node_path(name);

    CU_ASSERT_TRUE(g_file_set_contents(path, text, -1, NULL));
}

static void make_directory(const char *name)
{
    g_autofree char *path = node_path(name);

    CU_ASSERT_EQUAL(g_mkdir_with_parents(path, 0755), 0);
}

static char *get_file(const char *name)
{
    g_autofree char *path = node_path(name);
    char *text = NULL;

    g_file_get_contents(path, &text, NULL, NULL);
    return text != NULL ? text : g_strdup("?");
}

static void begin_session(void)
{
    const struct fuse_init_in in = {.major = 7,
                                    .minor = 36,
                                    .max_readahead = 1 << 17,
                                    .flags = FUSE_BIG_WRITES | FUSE_DO_READDIRPLUS | FUSE_POSIX_LOCKS |
                                             FUSE_FLOCK_LOCKS | FUSE_MAX_PAGES};

    g_autofree char *above = test_directory();

    top = g_build_filename(above, "share", NULL);
    mkdir(top, 0755);
    fs_guest_start(top, TRUE);
    CU_ASSERT_EQUAL(fs_call(FUSE_INIT, 0, &in, sizeof in, sizeof(struct fuse_init_out), NULL), 0);
}

static int look_up(guint64 parent, const char *name, guint64 *ret_node)
{
    const guint8 *answer;
    int problem =
        fs_call(FUSE_LOOKUP, parent, name, strlen(name) + 1, sizeof(struct fuse_entry_out), &answer);

    *ret_node = problem == 0 ? ((const struct fuse_entry_out *)(gconstpointer)answer)->nodeid : 0;
    return problem;
}

static guint64 node_of(guint64 parent, const char *name)
{
    guint64 node;

    CU_ASSERT_EQUAL(look_up(parent, name, &node), 0);
    return node;
}

static guint64 open_node(guint32 opcode, guint64 node, guint32 flags)
{
    const struct fuse_open_in in = {.flags = flags};
    const guint8 *answer;

    CU_ASSERT_EQUAL_FATAL(fs_call(opcode, node, &in, sizeof in, sizeof(struct fuse_open_out), &answer), 0);
    return ((const struct fuse_open_out *)(gconstpointer)answer)->fh;
}

static int write_node(guint64 node, guint64 fh, guint64 offset, const char *text)
{
    const struct fuse_write_in in = {.fh = fh, .offset = offset, .size = (guint32)strlen(text)};

    return fs_await(
        fs_submit(FUSE_WRITE, node, &in, sizeof in, text, strlen(text), sizeof(struct fuse_write_out)), NULL);
}

/* Return: what is read, or the errno as text; the caller frees it. */
static char *read_node(guint64 node, guint64 fh)
{
    const struct fuse_read_in in = {.fh = fh, .size = 4096};
    const guint8 *answer;
    int problem = fs_call(FUSE_READ, node, &in, sizeof in, 4096, &answer);
    const struct fuse_out_header *header;

    if (problem != 0)
        return g_strdup(g_strerror(problem));
    header = (const struct fuse_out_header *)(gconstpointer)answer - 1;
    return g_strndup((const char *)answer, header->len - sizeof *header);
}

static RelayRecovery replace_server(void)
{
    RelayRecovery recovery = {0};

    fs_server_kill();
    CU_ASSERT_TRUE(fs_guest_recover(top, &recovery));
    return recovery;
}

static void end_session(void)
{
    fs_guest_end();
    g_clear_pointer(&top, g_free);
}

#define CHECK_TEXT(call, text)                                                                               \
    do {                                                                                                     \
        g_autofree char *check_text_ = (call);                                                               \
        CU_ASSERT_STRING_EQUAL(check_text_, (text));                                                         \
    } while (0)

static void open_files_go_on(void)
{
    guint64 directory, node, fh;
    RelayRecovery recovery;

    begin_session();
    make_directory("a/b");
    put_file("a/b/file", "before");
    directory = node_of(node_of(ROOT, "a"), "b");
    node = node_of(directory, "file");
    fh = open_node(FUSE_OPEN, node, O_RDWR);
    CHECK_TEXT(read_node(node, fh), "before");
    for (int round = 0; round < 3; round++) {
        recovery = replace_server();
        CU_ASSERT_EQUAL(recovery.nodes, 3);
        CU_ASSERT_EQUAL(recovery.handles, 1);
        CU_ASSERT_EQUAL(recovery.lost, 0);
        CHECK_TEXT(read_node(node, fh), round == 0 ? "before" : "beyond");
        CU_ASSERT_EQUAL(write_node(node, fh, 2, "yond"), 0);
        CHECK_TEXT(get_file("a/b/file"), "beyond");
        CU_ASSERT_EQUAL(node_of(directory, "file"), node); /* the guest keeps its number */
    }
    end_session();
}

static int release(guint32 opcode, guint64 node, guint64 fh)
{
    const struct fuse_release_in in = {.fh = fh};

    return fs_call(opcode, node, &in, sizeof in, 0, NULL);
}

static void deleted_and_replaced_files_are_stale(void)
{
    guint64 deleted, replaced, kept, deleted_fh, kept_fh, again;
    g_autofree char *path = NULL, *other = NULL;

    begin_session();
    put_file("deleted", "1");
    put_file("replaced", "2");
    put_file("kept", "3");
    deleted = node_of(ROOT, "deleted");
    replaced = node_of(ROOT, "replaced");
    kept = node_of(ROOT, "kept");
    deleted_fh = open_node(FUSE_OPEN, deleted, O_RDONLY);
    kept_fh = open_node(FUSE_OPEN, kept, O_RDONLY);
    path = node_path("deleted");
    unlink(path);
    put_file("new", "4");
    other = node_path("new");
    g_free(path);
    path = node_path("replaced");
    CU_ASSERT_EQUAL(rename(other, path), 0);
    CU_ASSERT_EQUAL(replace_server().lost, 2);
    CHECK_TEXT(read_node(deleted, deleted_fh), g_strerror(ESTALE));
    CHECK_TEXT(read_node(kept, kept_fh), "3");
    CU_ASSERT_EQUAL(release(FUSE_RELEASE, deleted, deleted_fh), 0);
    CU_ASSERT_EQUAL(
        fs_call(FUSE_GETATTR, replaced, &(struct fuse_getattr_in){0}, 16, sizeof(struct fuse_attr_out), NULL),
        ESTALE);
    again = node_of(ROOT, "replaced");
    CU_ASSERT_NOT_EQUAL(again, replaced);
    CHECK_TEXT(read_node(again, open_node(FUSE_OPEN, again, O_RDONLY)), "4");
    end_session();
}

static void names_follow_the_guest(void)
{
    struct {
        struct fuse_rename_in in;
        char names[12];
    } __attribute__((packed)) move = {.names = "file\0moved"};
    struct {
        struct fuse_create_in in;
        char name[8];
    } __attribute__((packed))
    create = {.in = {.flags = O_RDWR | O_CREAT, .mode = S_IFREG | 0644}, .name = "file"};
    const guint8 *answer;
    guint64 directory, node, fh;

    begin_session();
    make_directory("d");
    directory = node_of(ROOT, "d");
    CU_ASSERT_EQUAL_FATAL(fs_call(FUSE_CREATE, ROOT, &create, sizeof create.in + 5,
                                  sizeof(struct fuse_entry_out) + sizeof(struct fuse_open_out), &answer),
                          0);
    node = ((const struct fuse_entry_out *)(gconstpointer)answer)->nodeid;
    fh = ((const struct fuse_open_out *)(gconstpointer)(answer + sizeof(struct fuse_entry_out)))->fh;
    move.in.newdir = directory;
    CU_ASSERT_EQUAL(fs_call(FUSE_RENAME, ROOT, &move, sizeof move.in + 11, 0, NULL), 0);
    replace_server();
    CU_ASSERT_EQUAL(write_node(node, fh, 0, "there"), 0);
    CHECK_TEXT(get_file("d/moved"), "there");
    CU_ASSERT_EQUAL(fs_call(FUSE_UNLINK, directory, "moved", 6, 0, NULL), 0);
    CHECK_TEXT(read_node(node, fh), "there"); /* it is open */
    replace_server();
    CHECK_TEXT(read_node(node, fh), g_strerror(ESTALE));
    end_session();
}

static gint by_name(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The names that a directory shows, in the order of the alphabet, from calls of one page each. step: called
 * after the first call. */
static char *list_directory(guint64 node, guint64 fh, void (*step)(void))
{
    struct fuse_read_in in = {.fh = fh, .size = 1024};
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GString) text = g_string_new(NULL);
    const guint8 *answer;

    for (;;) {
        const struct fuse_out_header *header;
        gsize length;

        CU_ASSERT_EQUAL_FATAL(fs_call(FUSE_READDIRPLUS, node, &in, sizeof in, in.size, &answer), 0);
        header = (const struct fuse_out_header *)(gconstpointer)answer - 1;
        length = header->len - sizeof *header;
        if (length == 0)
            break;
        for (gsize at = 0; at < length;) {
            const struct fuse_direntplus *entry = (gconstpointer)(answer + at);

            in.offset = entry->dirent.off;
            g_ptr_array_add(names, g_strndup(entry->dirent.name, entry->dirent.namelen));
            at += FUSE_DIRENTPLUS_SIZE(entry);
        }
        if (step != NULL)
            step();
        step = NULL;
    }
    g_ptr_array_sort(names, by_name);
    for (guint i = 0; i < names->len; i++)
        g_string_append_printf(text, "%s%s", i > 0 ? " " : "", (const char *)names->pdata[i]);
    return g_string_free(g_steal_pointer(&text), FALSE);
}

static void replace_server_once(void)
{
    replace_server();
}

static void directories_are_listed_on(void)
{
    g_autofree char *whole = NULL, *interrupted = NULL;
    guint64 directory, fh;

    begin_session();
    make_directory("d");
    for (int i = 0; i < 50; i++) {
        g_autofree char *name = g_strdup_printf("d/file-%02d", i);

        put_file(name, "");
    }
    directory = node_of(ROOT, "d");
    fh = open_node(FUSE_OPENDIR, directory, O_RDONLY);
    whole = list_directory(directory, fh, NULL);
    fh = open_node(FUSE_OPENDIR, directory, O_RDONLY);
    interrupted = list_directory(directory, fh, replace_server_once);
    CU_ASSERT_STRING_EQUAL(whole, interrupted);
    CU_ASSERT_TRUE(g_str_has_suffix(whole, "file-48 file-49"));
    end_session();
}

static void forgotten_nodes_are_free(void)
{
    const struct fuse_forget_in once = {.nlookup = 1}, rest = {.nlookup = 2};
    guint64 node;

    begin_session();
    put_file("file", "");
    node = node_of(ROOT, "file");
    node_of(ROOT, "file");
    node_of(ROOT, "file");
    fs_submit(FUSE_FORGET, node, &once, sizeof once, NULL, 0, 0);
    fs_work();
    CU_ASSERT_EQUAL(replace_server().nodes, 1);
    fs_submit(FUSE_FORGET, node, &rest, sizeof rest, NULL, 0, 0);
    fs_work();
    CU_ASSERT_EQUAL(replace_server().nodes, 0);
    CU_ASSERT_EQUAL(fs_call(FUSE_READLINK, node, NULL, 0, 100, NULL), ESTALE);
    end_session();
}

static int set_lock(guint64 node, guint64 fh, guint32 type, guint64 start, guint64 end, guint32 flags)
{
    const struct fuse_lk_in in = {
        .fh = fh, .owner = 77, .lk = {.start = start, .end = end, .type = type, .pid = 1}, .lk_flags = flags};

    return fs_call(FUSE_SETLK, node, &in, sizeof in, 0, NULL);
}

/* Whether another process could lock that range of the file. */
static gboolean is_free(const char *name, off_t start, off_t length)
{
    g_autofree char *path = node_path(name);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    struct flock lock = {.l_type = F_WRLCK, .l_start = start, .l_len = length};
    gboolean is = fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type == F_UNLCK;

    close(fd);
    return is;
}

static void locks_are_taken_again(void)
{
    g_autofree char *path = NULL;
    guint64 node, fh;
    int fd;

    begin_session();
    put_file("file", "text");
    node = node_of(ROOT, "file");
    fh = open_node(FUSE_OPEN, node, O_RDWR);
    CU_ASSERT_EQUAL(set_lock(node, fh, F_WRLCK, 0, 99, 0), 0);
    CU_ASSERT_EQUAL(set_lock(node, fh, F_UNLCK, 40, 49, 0), 0);
    CU_ASSERT_EQUAL(set_lock(node, fh, LOCK_EX == 2 ? F_WRLCK : 0, 0, INT64_MAX, FUSE_LK_FLOCK), 0);
    replace_server();
    CU_ASSERT_FALSE(is_free("file", 39, 1));
    CU_ASSERT_TRUE(is_free("file", 40, 10));
    CU_ASSERT_FALSE(is_free("file", 50, 1));
    CU_ASSERT_TRUE(is_free("file", 100, 10));
    path = node_path("file");
    fd = open(path, O_RDWR | O_CLOEXEC);
    CU_ASSERT_NOT_EQUAL(flock(fd, LOCK_EX | LOCK_NB), 0);
    /* Who gets the lock while there is no server, keeps it; the guest's handle is lost. */
    fs_server_kill();
    CU_ASSERT_EQUAL(flock(fd, LOCK_EX), 0);
    CU_ASSERT_TRUE(fs_guest_recover(top, &(RelayRecovery){0}));
    CHECK_TEXT(read_node(node, fh), g_strerror(ESTALE));
    CHECK_TEXT(read_node(node, open_node(FUSE_OPEN, node, O_RDONLY)), "text");
    close(fd);
    end_session();
}

static void stop_server(void)
{
    pid_t child = fs_server_child();
    g_autofree char *tasks = NULL;
    g_autoptr(GDir) entries = NULL;
    const char *task;

    CU_ASSERT_TRUE_FATAL(child > 0);
    kill(child, SIGSTOP);
    tasks = g_strdup_printf("/proc/%d/task", (int)child);
    entries = g_dir_open(tasks, 0, NULL);
    while (entries != NULL && (task = g_dir_read_name(entries)) != NULL)
        for (int i = 0; i < 1000; i++) {
            g_autofree char *path = g_strdup_printf("%s/%s/stat", tasks, task);
            g_autofree char *text = NULL;

            if (!g_file_get_contents(path, &text, NULL, NULL) || strstr(text, ") T ") != NULL)
                break;
            g_usleep(1000);
        }
}

static void what_was_under_way_is_repeated_or_refused(void)
{
    struct fuse_write_in in = {.size = 5};
    struct {
        struct fuse_mkdir_in in;
        char name[8];
    } __attribute__((packed)) make = {.in = {.mode = 0755}, .name = "made"};
    guint64 node, log, log_fh;
    guint written, made, looked, appended, half, partly;
    const guint8 *answer;
    RelayRecovery recovery;

    begin_session();
    put_file("file", "");
    put_file("log", "0123456789");
    node = node_of(ROOT, "file");
    in.fh = open_node(FUSE_OPEN, node, O_RDWR);
    log = node_of(ROOT, "log");
    log_fh = open_node(FUSE_OPEN, log, O_WRONLY | O_APPEND);
    stop_server();
    written = fs_submit(FUSE_WRITE, node, &in, sizeof in, "hello", 5, sizeof(struct fuse_write_out));
    made = fs_submit(FUSE_MKDIR, ROOT, &make, sizeof make.in + 5, NULL, 0, sizeof(struct fuse_entry_out));
    looked = fs_submit(FUSE_LOOKUP, ROOT, "log", 4, NULL, 0, sizeof(struct fuse_entry_out));
    in = (struct fuse_write_in){.fh = log_fh, .size = 5, .offset = 10};
    appended = fs_submit(FUSE_WRITE, log, &in, sizeof in, "abcde", 5, sizeof(struct fuse_write_out));
    in.offset = 5; /* as if it had been written */
    half = fs_submit(FUSE_WRITE, log, &in, sizeof in, "56789", 5, sizeof(struct fuse_write_out));
    in.offset = 8;
    partly = fs_submit(FUSE_WRITE, log, &in, sizeof in, "89abc", 5, sizeof(struct fuse_write_out));
    relay_work(fs_guest.relay);
    recovery = replace_server();
    CU_ASSERT_EQUAL(recovery.repeated, 6);
    CU_ASSERT_EQUAL(fs_await(written, NULL), 0);
    CU_ASSERT_EQUAL(fs_await(made, NULL), EIO);
    CU_ASSERT_EQUAL(fs_await(looked, NULL), 0);
    CU_ASSERT_EQUAL(fs_await(appended, NULL), 0);
    CU_ASSERT_EQUAL(fs_await(half, &answer), 0);
    CU_ASSERT_EQUAL(((const struct fuse_write_out *)(gconstpointer)answer)->size, 5);
    CU_ASSERT_EQUAL(fs_await(partly, &answer), 0);
    CHECK_TEXT(get_file("file"), "hello");
    CHECK_TEXT(get_file("log"), "0123456789abcde");
    end_session();
}

static void a_server_that_dies_is_no_successor(void)
{
    guint64 node, fh;
    RelayRecovery recovery;
    int ends[2];

    begin_session();
    put_file("file", "text");
    node = node_of(ROOT, "file");
    fh = open_node(FUSE_OPEN, node, O_RDONLY);
    fs_server_kill();
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    close(ends[1]);
    CU_ASSERT_FALSE(relay_recover(fs_guest.relay, ends[0], &recovery));
    close(ends[0]);
    CU_ASSERT_TRUE(fs_guest_recover(top, &recovery));
    CHECK_TEXT(read_node(node, fh), "text");
    end_session();
}

static void requests_fail_when_no_server_comes(void)
{
    guint waiting;
    guint64 node;

    begin_session();
    put_file("file", "text");
    node = node_of(ROOT, "file");
    fs_server_kill();
    waiting = fs_submit(FUSE_READLINK, node, NULL, 0, NULL, 0, 100);
    relay_work(fs_guest.relay);
    CU_ASSERT_FALSE(fs_is_answered(waiting));
    relay_fail(fs_guest.relay, 1, ENOTCONN);
    CU_ASSERT_EQUAL(fs_await(waiting, NULL), ENOTCONN);
    /* One that comes late is used all the same. */
    CU_ASSERT_TRUE(fs_guest_recover(top, &(RelayRecovery){0}));
    CU_ASSERT_EQUAL(node_of(ROOT, "file"), node);
    end_session();
}

static void a_stopped_guest_loses_nothing(void)
{
    guint32 bases[2], again[2];
    guint64 node;
    guint under_way, later;

    begin_session();
    put_file("file", "text");
    node = node_of(ROOT, "file");
    under_way = fs_submit(FUSE_LOOKUP, ROOT, "file", 5, NULL, 0, sizeof(struct fuse_entry_out));
    relay_work(fs_guest.relay);
    fs_guest_stop(bases);
    CU_ASSERT_TRUE(fs_is_answered(under_way));
    CU_ASSERT_EQUAL(fs_await(under_way, NULL), 0);
    later = fs_submit(FUSE_LOOKUP, ROOT, "file", 5, NULL, 0, sizeof(struct fuse_entry_out));
    relay_work(fs_guest.relay);
    CU_ASSERT_FALSE(fs_is_answered(later));
    /* The server may be replaced meanwhile. */
    replace_server();
    fs_guest_continue(bases);
    CU_ASSERT_EQUAL(fs_await(later, NULL), 0);
    CU_ASSERT_EQUAL(node_of(ROOT, "file"), node);
    fs_guest_stop(again);
    CU_ASSERT_EQUAL(again[1], bases[1] + 2);
    fs_guest_continue(again);
    CU_ASSERT_EQUAL(node_of(ROOT, "file"), node);
    end_session();
}

static void unknown_calls_do_not_reach_the_server(void)
{
    static const struct fuse_read_in in = {.fh = 12345, .size = 10};

    begin_session();
    CU_ASSERT_EQUAL(fs_call(4711, ROOT, NULL, 0, 100, NULL), ENOSYS);
    CU_ASSERT_EQUAL(fs_call(FUSE_GETATTR, 99999, &in, 16, 100, NULL), ESTALE);
    CU_ASSERT_EQUAL(fs_call(FUSE_READ, ROOT, &in, sizeof in, 100, NULL), EBADF);
    CU_ASSERT_EQUAL(fs_call(FUSE_LOOKUP, ROOT, "no zero", 3, 200, NULL), EINVAL);
    CU_ASSERT_EQUAL(fs_call(FUSE_STATFS, ROOT, NULL, 0, sizeof(struct fuse_statfs_out), NULL), 0);
    end_session();
}

/* Return: a saved state as a file, at its start; the caller closes it. */
static int save_state(void)
{
    int file = memfd_create("state", MFD_CLOEXEC);

    CU_ASSERT_EQUAL_FATAL(relay_save(fs_guest.relay, file), 0);
    lseek(file, 0, SEEK_SET);
    return file;
}

static void a_saved_guest_goes_on_at_a_copy(void)
{
    g_autofree char *old = NULL, *copied = NULL;
    guint64 directory, node, fh;
    int state;

    begin_session();
    make_directory("d");
    put_file("d/file", "saved");
    put_file("d/gone", "");
    directory = node_of(ROOT, "d");
    node = node_of(directory, "file");
    fh = open_node(FUSE_OPEN, node, O_RDWR);
    CU_ASSERT_EQUAL(set_lock(node, fh, F_WRLCK, 0, 9, 0), 0);
    node_of(directory, "gone");
    state = save_state();
    fs_guest_end();
    /* Another directory, with files of the same names. */
    old = g_steal_pointer(&top);
    top = g_strconcat(old, "-copy", NULL);
    CU_ASSERT_EQUAL(mkdir(top, 0755), 0);
    make_directory("d");
    put_file("other", "");
    put_file("d/file", "copied");
    fs_guest_load = state;
    fs_guest_start(top, TRUE);
    CHECK_TEXT(read_node(node, fh), "copied");
    CU_ASSERT_EQUAL(write_node(node, fh, 6, " on"), 0);
    copied = get_file("d/file");
    CU_ASSERT_STRING_EQUAL(copied, "copied on");
    CU_ASSERT_FALSE(is_free("d/file", 0, 1));
    CU_ASSERT_EQUAL(node_of(directory, "file"), node);
    CU_ASSERT_EQUAL(
        fs_call(FUSE_GETATTR, node + 1, &(struct fuse_getattr_in){0}, 16, sizeof(struct fuse_attr_out), NULL),
        ESTALE); /* it is not in the copy */
    CU_ASSERT_EQUAL(relay_load(fs_guest.relay, state, FALSE), EBUSY);
    close(state);
    end_session();
}

static void make_socket(const char *name)
{
    g_autofree char *path = node_path(name);

    CU_ASSERT_EQUAL(mknod(path, S_IFSOCK | 0600, 0), 0);
}

/* Return: the inode number by FUSE_LOOKUP; that by FUSE_GETATTR is the same. */
static guint64 ino_of(const char *name)
{
    const struct fuse_getattr_in in = {0};
    const guint8 *answer;
    guint64 ino, node;

    CU_ASSERT_EQUAL_FATAL(
        fs_call(FUSE_LOOKUP, ROOT, name, strlen(name) + 1, sizeof(struct fuse_entry_out), &answer), 0);
    ino = ((const struct fuse_entry_out *)(gconstpointer)answer)->attr.ino;
    node = ((const struct fuse_entry_out *)(gconstpointer)answer)->nodeid;
    CU_ASSERT_EQUAL_FATAL(fs_call(FUSE_GETATTR, node, &in, sizeof in, sizeof(struct fuse_attr_out), &answer),
                          0);
    CU_ASSERT_EQUAL(((const struct fuse_attr_out *)(gconstpointer)answer)->attr.ino, ino);
    return ino;
}

/* The guest's kernel finds the listener by the inode number. */
static void a_socket_keeps_its_inode_number_at_a_copy(void)
{
    guint64 socket_ino, file_ino;
    int state;

    begin_session();
    make_socket("socket");
    put_file("file", "");
    socket_ino = ino_of("socket");
    file_ino = ino_of("file");
    state = save_state();
    fs_guest_end();
    g_autofree char *old = g_steal_pointer(&top);
    top = g_strconcat(old, "-copy", NULL);
    CU_ASSERT_EQUAL(mkdir(top, 0755), 0);
    put_file("other", "");
    put_file("file", "");
    make_socket("socket");
    fs_guest_load = state;
    fs_guest_start(top, TRUE);
    CU_ASSERT_EQUAL(ino_of("socket"), socket_ino);
    CU_ASSERT_NOT_EQUAL(ino_of("file"), file_ino);
    replace_server();
    CU_ASSERT_EQUAL(ino_of("socket"), socket_ino);
    close(state);
    end_session();
}

static int load_bytes(const guint8 *bytes, gsize length)
{
    Device device;
    Relay *relay;
    int file = memfd_create("state", MFD_CLOEXEC), problem;

    device_init(&device);
    relay = relay_new(&device);
    CU_ASSERT_EQUAL(write(file, bytes, length), (gssize)length);
    lseek(file, 0, SEEK_SET);
    problem = relay_load(relay, file, FALSE);
    close(file);
    relay_free(relay);
    return problem;
}

static void a_damaged_state_is_refused(void)
{
    guint8 bytes[4096];
    gssize length;
    int state;

    begin_session();
    put_file("file", "");
    open_node(FUSE_OPEN, node_of(ROOT, "file"), O_RDWR);
    state = save_state();
    length = read(state, bytes, sizeof bytes);
    close(state);
    CU_ASSERT_TRUE_FATAL(length > 100 && length < (gssize)sizeof bytes);
    CU_ASSERT_EQUAL(load_bytes(bytes, (gsize)length), 0);
    for (gssize i = 0; i < length; i++) {
        bytes[i] ^= 0x10;
        CU_ASSERT_EQUAL(load_bytes(bytes, (gsize)length), EINVAL);
        bytes[i] ^= 0x10;
        CU_ASSERT_EQUAL(load_bytes(bytes, (gsize)i), EINVAL);
    }
    end_session();
}

/* Memory that QEMU has privately: the server would read and write something else. */
static void refuses_memory_that_the_server_cannot_see(void)
{
    const struct fuse_write_in in = {.size = 5};
    guint64 node, fh;
    MemoryHole hole;
    guint place;

    begin_session();
    put_file("file", "as it was");
    node = node_of(ROOT, "file");
    fh = open_node(FUSE_OPEN, node, O_RDWR);
    place = fs_submit(FUSE_LOOKUP, ROOT, "file", 5, NULL, 0, sizeof(struct fuse_entry_out));
    CU_ASSERT_EQUAL(fs_await(place, NULL), 0);
    hole.begin = fs_data_address(place + 1) & ~(guint64)4095;
    hole.end = hole.begin + 4096;
    fs_guest.device.memory.holes = &hole;
    fs_guest.device.memory.n_holes = 1;
    CU_ASSERT_EQUAL(
        fs_await(fs_submit(FUSE_WRITE, node, &in, sizeof in, "wrong", 5, sizeof(struct fuse_write_out)),
                 NULL),
        EIO);
    CHECK_TEXT(get_file("file"), "as it was");
    CHECK_TEXT(read_node(node, fh), "as it was"); /* at another place */
    fs_guest.device.memory.n_holes = 0;
    end_session();
}

int main(void)
{
    static const TestCase cases[] = {
        {"a request whose data the file server cannot see fails, and nothing is written",
         refuses_memory_that_the_server_cannot_see},
        {"open files go on at a new file server, as often as one dies", open_files_go_on},
        {"a file that was deleted or replaced meanwhile is stale, and no other",
         deleted_and_replaced_files_are_stale},
        {"files are found again by the names that the guest has given them", names_follow_the_guest},
        {"a directory is listed on where the dead server was", directories_are_listed_on},
        {"nodes that the guest has forgotten are not set up again", forgotten_nodes_are_free},
        {"locks are taken again, and a handle whose lock is lost is stale", locks_are_taken_again},
        {"requests that the dead server had taken are repeated; those that must not be, get EIO",
         what_was_under_way_is_repeated_or_refused},
        {"a server that dies while it is set up is replaced by the next one",
         a_server_that_dies_is_no_successor},
        {"requests fail when no server comes, and go on when one comes late",
         requests_fail_when_no_server_comes},
        {"a saved guest goes on with copies of its volumes, and what they lack is stale",
         a_saved_guest_goes_on_at_a_copy},
        {"a socket keeps its inode number in a copy, by which the guest's kernel finds who listens",
         a_socket_keeps_its_inode_number_at_a_copy},
        {"a saved state with any damage is refused", a_damaged_state_is_refused},
        {"a guest that QEMU stops and continues loses no request", a_stopped_guest_loses_nothing},
        {"unknown calls and numbers are refused without the server", unknown_calls_do_not_reach_the_server},
    };
    if (geteuid() != 0 || access(FS_GUEST_SERVER, X_OK) != 0) {
        g_printerr("skipped: needs root and virtiofsd\n");
        return 77;
    }
    return test_main("relay", cases, G_N_ELEMENTS(cases));
}
