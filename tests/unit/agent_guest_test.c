/* SPDX-License-Identifier: Apache-2.0 */
/* The agent in a real guest: the test boots CRIVIRT_TEST_KERNEL with CRIVIRT_TEST_INITRD under TCG and sends
 * what the daemon sends. It is skipped when these are not set. CRIVIRT_TEST_MEASURE=1 prints times as well.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/tools/agent_drive.h"
#include "tests/unit/harness.h"

#define INIT(Name) CRIVIRT__AGENT__V1__##Name##__INIT
#define REQUEST(op_name, OP, message)                                                                        \
    {                                                                                                        \
        PROTOBUF_C_MESSAGE_INIT(&crivirt__agent__v1__request__descriptor),                                   \
            .id = 0, .op_case = CRIVIRT__AGENT__V1__REQUEST__OP_##OP, .op_name = (message)                   \
    }

enum { BOOT_MS = 60000, CALL_MS = 40000 };

static struct {
    char *directory;
    GPid pid;
    Drive *drive;
    int qmp;
} guest;

static gint64 now_us(void)
{
    return g_get_monotonic_time();
}

static void measured(const char *what, double value, const char *unit)
{
    if (g_getenv("CRIVIRT_TEST_MEASURE") != NULL)
        g_print("    %-44s %10.2f %s\n", what, value, unit);
}

static char *in_directory(const char *name)
{
    return g_build_filename(guest.directory, name, NULL);
}

/* ---- the guest ---- */

static void run(const char *format, ...) G_GNUC_PRINTF(1, 2);
static void run(const char *format, ...)
{
    va_list arguments;
    int status = -1;
    va_start(arguments, format);
    g_autofree char *command = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_autofree char *output = NULL, *errors = NULL;
    gboolean ok = g_spawn_command_line_sync(command, &output, &errors, &status, NULL);
    if (!ok || status != 0)
        g_printerr("%s: %s\n", command, errors != NULL ? errors : "");
    if (!ok || status != 0)
        exit(1);
}

static void make_layers(void)
{
    run("sh -c 'cd %s && mkdir -p a/bin a/etc a/proc a/dev a/sys a/tmp a/work b/etc && cp /bin/busybox "
        "a/bin/ && "
        "for t in sh cat id sleep echo env pwd stty head dd seq ls grep tr true false touch ip hostname "
        "readlink wc setsid "
        "awk mkdir kill date; do ln -s busybox a/bin/$t; done && "
        "printf \"root:x:0:0::/:/bin/sh\\nalice:x:1000:1001::/work:/bin/sh\\n\" > a/etc/passwd && "
        "printf \"root:x:0:\\nalice:x:1001:\\nstaff:x:50:alice,bob\\n\" > a/etc/group && "
        "echo lower > a/etc/which && echo upper > b/etc/which && ln -s ../lost/found/hosts b/etc/hosts && "
        "mkfs.erofs --quiet a.img a && mkfs.erofs --quiet b.img b && truncate -s 512M up.img && "
        "mkfs.ext4 -q -F -N 65536 -E lazy_itable_init=0,assume_storage_prezeroed=1 up.img || "
        "mkfs.ext4 -q -F -N 65536 up.img'",
        guest.directory);
}

static void start_qemu(const char *kernel, const char *initrd)
{
    g_autofree char *agent =
        g_strdup_printf("socket,id=agent,path=%s/agent.sock,server=on,wait=off", guest.directory);
    g_autofree char *qmp = g_strdup_printf("unix:%s/qmp.sock,server=on,wait=off", guest.directory);
    g_autofree char *console = g_strdup_printf("file:%s/console.log", guest.directory);
    g_autofree char *upper =
        g_strdup_printf("file=%s/up.img,if=none,id=up,format=raw,cache=unsafe", guest.directory);
    const char *argv[] = {"qemu-system-x86_64",
                          "-accel",
                          "tcg",
                          "-M",
                          "q35",
                          "-cpu",
                          "max",
                          "-m",
                          "256",
                          "-nodefaults",
                          "-display",
                          "none",
                          "-no-reboot",
                          "-serial",
                          console,
                          "-kernel",
                          kernel,
                          "-initrd",
                          initrd,
                          "-append",
                          "console=ttyS0 quiet panic=-1 tsc=reliable",
                          "-device",
                          "virtio-serial-pci",
                          "-chardev",
                          agent,
                          "-device",
                          "virtserialport,chardev=agent,name=org.crivirt.agent.0",
                          "-device",
                          "virtio-scsi-pci,id=scsi0",
                          "-drive",
                          upper,
                          "-device",
                          "scsi-hd,drive=up,bus=scsi0.0,channel=0,scsi-id=0,lun=0,serial=upper",
                          "-netdev",
                          "user,id=net0,restrict=on",
                          "-device",
                          "virtio-net-pci,netdev=net0,mac=52:54:00:00:00:01,romfile=",
                          "-qmp",
                          qmp,
                          NULL};
    GError *error = NULL;
    TEST_OK(g_spawn_async(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD, NULL,
                          NULL, &guest.pid, &error),
            error);
}

static void stop_qemu(void)
{
    if (guest.pid > 0)
        kill(guest.pid, SIGKILL);
}

static void qmp_connect(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    g_autofree char *path = in_directory("qmp.sock");
    g_strlcpy(address.sun_path, path, sizeof address.sun_path);
    guest.qmp = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    while (connect(guest.qmp, (struct sockaddr *)&address, sizeof address) != 0)
        g_usleep(5000);
}

/* Sends a command and reads up to its answer. Each answer is a line; events before it are skipped. */
static void qmp_command(const char *format, ...) G_GNUC_PRINTF(1, 2);
static void qmp_command(const char *format, ...)
{
    va_list arguments;
    char line[4096];
    va_start(arguments, format);
    g_autofree char *command = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    CU_ASSERT_TRUE_FATAL(write(guest.qmp, command, strlen(command)) > 0);
    for (;;) {
        gsize length = 0;
        while (length < sizeof line - 1 && read(guest.qmp, line + length, 1) == 1 && line[length] != '\n')
            length++;
        line[length] = '\0';
        if (strstr(line, "\"return\"") != NULL)
            return;
        if (length == 0 || strstr(line, "\"error\"") != NULL) {
            g_printerr("%s: %s\n", command, line);
            CU_FAIL_FATAL("qmp");
            return;
        }
    }
}

static void plug(const char *image, int lun, const char *serial)
{
    qmp_command(
        "{\"execute\":\"blockdev-add\",\"arguments\":{\"driver\":\"raw\",\"node-name\":\"n%d\",\"read-only\":"
        "true,\"file\":{\"driver\":\"file\",\"filename\":\"%s/%s\"}}}\n",
        lun, guest.directory, image);
    qmp_command(
        "{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"scsi-hd\",\"id\":\"d%d\",\"drive\":\"n%d\","
        "\"bus\":\"scsi0.0\",\"lun\":%d,\"serial\":\"%s\"}}\n",
        lun, lun, lun, serial);
}

static void unplug(int lun)
{
    qmp_command("{\"execute\":\"device_del\",\"arguments\":{\"id\":\"d%d\"}}\n", lun);
    g_usleep(200000); /* QEMU closes it a little later */
    qmp_command("{\"execute\":\"blockdev-del\",\"arguments\":{\"node-name\":\"n%d\"}}\n", lun);
}

/* ---- calls ---- */

/* Frees the response. Return: 0, or the status of the failure, whose message must contain text. */
static int status_of(DriveResponse *response, const char *text)
{
    CU_ASSERT_PTR_NOT_NULL_FATAL(response);
    int status = response->failure != NULL ? response->failure->status : 0;
    if (text == NULL && status != 0)
        g_printerr("unexpected failure: %s\n", response->failure->message);
    if (text != NULL && (status == 0 || strstr(response->failure->message, text) == NULL)) {
        g_printerr("\"%s\" is not in \"%s\"\n", text, status != 0 ? response->failure->message : "(success)");
        status = -1;
    }
    crivirt__agent__v1__response__free_unpacked(response, NULL);
    return status;
}

static DriveResponse *call(DriveRequest request)
{
    return drive_call(guest.drive, &request, CALL_MS);
}

static const char SPEC_BEFORE[] =
    "{\"ociVersion\":\"1.0.2\",\"root\":{\"path\":\"rootfs\"},\"mounts\":["
    "{\"destination\":\"/proc\",\"type\":\"proc\",\"source\":\"proc\"},"
    "{\"destination\":\"/"
    "dev\",\"type\":\"tmpfs\",\"source\":\"tmpfs\",\"options\":[\"nosuid\",\"mode=755\"]},"
    "{\"destination\":\"/dev/pts\",\"type\":\"devpts\",\"source\":\"devpts\",\"options\":[\"newinstance\","
    "\"ptmxmode=0666\",\"mode=0620\",\"gid=5\"]},"
    "{\"destination\":\"/dev/shm\",\"type\":\"bind\",\"source\":\"/run/crivirt/sandbox/"
    "shm\",\"options\":[\"rbind\"]},"
    "{\"destination\":\"/etc/hosts\",\"type\":\"bind\",\"source\":\"/run/crivirt/sandbox/hosts\",\"options\":"
    "[\"rbind\"]}],"
    "\"linux\":{\"cgroupsPath\":\"/crivirt/%s\",\"namespaces\":[{\"type\":\"pid\"},{\"type\":\"mount\"},"
    "{\"type\":\"cgroup\"}],\"resources\":{\"memory\":{\"limit\":33554432}}},"
    "\"process\":{\"terminal\":%s,\"cwd\":\"/work\",\"noNewPrivileges\":true,\"oomScoreAdj\":100,"
    "\"env\":[\"PATH=/"
    "bin\",\"GREETING=hello\"],\"rlimits\":[{\"type\":\"RLIMIT_NOFILE\",\"soft\":77,\"hard\":77}],"
    "\"capabilities\":{\"bounding\":[\"CAP_KILL\"],\"effective\":[\"CAP_KILL\"],\"permitted\":[\"CAP_KILL\"]}"
    ","
    "\"args\":%s,\"user\":";

typedef struct {
    const char *args; /* JSON */
    const char *user_name;
    gint64 uid;
    gboolean tty, stdin_open;
    gsize n_layers; /* 0: none */
    gboolean shared_pid;
    const char *env;        /* JSON that follows the other variables; NULL: nothing */
    gboolean rehearsal;     /* the agent is its program */
    gboolean in_guest_pids; /* it has no PID namespace of its own */
    gboolean sees_all;      /* crun's records at /records, and the cgroups of all containers at /cgroups */
} Wish;

static const char SEES_ALL[] =
    "\"mounts\":[{\"destination\":\"/records\",\"type\":\"bind\",\"source\":\"/run/crivirt/crun\","
    "\"options\":[\"rbind\"]},{\"destination\":\"/cgroups\",\"type\":\"bind\","
    "\"source\":\"/sys/fs/cgroup/crivirt\",\"options\":[\"rbind\"]},";

static DriveResponse *create(const char *id, const Wish *wish)
{
    Crivirt__Agent__V1__CreateContainerRequest message = INIT(CREATE_CONTAINER_REQUEST);
    Crivirt__Agent__V1__User user = INIT(USER);
    Crivirt__Agent__V1__Disk a = INIT(DISK), b = INIT(DISK);
    Crivirt__Agent__V1__Disk *layers[] = {&a, &b};
    g_autofree char *before =
        g_strdup_printf(SPEC_BEFORE, id, wish->tty ? "true" : "false", wish->args); /* NOLINT: our format */
    if (wish->env != NULL) {
        g_autoptr(GString) with_env = g_string_new(before);
        g_autofree char *greeting = g_strconcat("\"GREETING=hello\"", wish->env, NULL);

        g_string_replace(with_env, "\"GREETING=hello\"", greeting, 1);
        g_free(before);
        before = g_string_free(g_steal_pointer(&with_env), FALSE);
    }
    if (wish->shared_pid) {
        g_autoptr(GString) shared = g_string_new(before);

        g_string_replace(shared, "{\"type\":\"pid\"}",
                         "{\"type\":\"pid\",\"path\":\"/run/crivirt/sandbox/ns/pid\"}", 1);
        g_free(before);
        before = g_string_free(g_steal_pointer(&shared), FALSE);
    }
    if (wish->sees_all) {
        g_autoptr(GString) all = g_string_new(before);

        g_string_replace(all, "\"mounts\":[", SEES_ALL, 1);
        g_free(before);
        before = g_string_free(g_steal_pointer(&all), FALSE);
    }
    if (wish->in_guest_pids) {
        g_autoptr(GString) bare = g_string_new(before);

        g_string_replace(bare, "{\"type\":\"pid\"},", "", 1);
        g_free(before);
        before = g_string_free(g_steal_pointer(&bare), FALSE);
    }
    if (wish->rehearsal) {
        g_autoptr(GString) with_agent = g_string_new(before);

        g_string_replace(with_agent, "\"mounts\":[",
                         "\"mounts\":[{\"destination\":\"/init\",\"type\":\"bind\",\"source\":\"/init\","
                         "\"options\":[\"bind\",\"ro\"]},",
                         1);
        g_free(before);
        before = g_string_free(g_steal_pointer(&with_agent), FALSE);
    }
    message.rehearsal = wish->rehearsal;
    message.shared_pid = wish->shared_pid;
    a.lun = 1;
    a.serial = (char *)"layer-a";
    b.lun = 300;
    b.serial = (char *)"layer-b";
    user.name = (char *)(wish->user_name != NULL ? wish->user_name : "");
    user.uid = wish->uid;
    user.gid = -1;
    message.id = (char *)id;
    message.layers = layers;
    message.n_layers = wish->n_layers;
    message.spec_before_user.data = (guint8 *)before;
    message.spec_before_user.len = strlen(before);
    message.spec_after_user.data = (guint8 *)"}}";
    message.spec_after_user.len = 2;
    message.user = &user;
    message.tty = wish->tty;
    message.stdin = wish->stdin_open;
    return call((DriveRequest)REQUEST(create_container, CREATE_CONTAINER, &message));
}

static DriveResponse *start(const char *id)
{
    Crivirt__Agent__V1__StartContainerRequest message = INIT(START_CONTAINER_REQUEST);
    message.id = (char *)id;
    return call((DriveRequest)REQUEST(start_container, START_CONTAINER, &message));
}

static DriveResponse *delete (const char *id)
{
    Crivirt__Agent__V1__DeleteContainerRequest message = INIT(DELETE_CONTAINER_REQUEST);
    message.id = (char *)id;
    return call((DriveRequest)REQUEST(delete_container, DELETE_CONTAINER, &message));
}

typedef enum { WAIT, POST } How;

static DriveResponse *exec_how(How how, const char *id, const char *exec_id, const char *script, gboolean tty,
                               gboolean stdin_open)
{
    Crivirt__Agent__V1__ExecRequest message = INIT(EXEC_REQUEST);
    Crivirt__Agent__V1__ProcessId process = INIT(PROCESS_ID);
    char *args[] = {(char *)"/bin/sh", (char *)"-c", (char *)script};
    process.container_id = (char *)id;
    process.exec_id = (char *)exec_id;
    message.process = &process;
    message.args = args;
    message.n_args = 3;
    message.tty = tty;
    message.stdin = stdin_open;
    message.columns = 91;
    message.rows = 17;
    if (how == WAIT)
        return call((DriveRequest)REQUEST(exec, EXEC, &message));
    drive_post(guest.drive, &(DriveRequest)REQUEST(exec, EXEC, &message));
    return NULL;
}

static DriveResponse *exec_in(const char *id, const char *exec_id, const char *script, gboolean tty,
                              gboolean stdin_open)
{
    return exec_how(WAIT, id, exec_id, script, tty, stdin_open);
}

static DriveResponse *signal_to(const char *id, const char *exec_id, int number, gboolean all)
{
    Crivirt__Agent__V1__SignalRequest message = INIT(SIGNAL_REQUEST);
    Crivirt__Agent__V1__ProcessId process = INIT(PROCESS_ID);
    process.container_id = (char *)id;
    process.exec_id = (char *)exec_id;
    message.process = &process;
    message.signal = number;
    message.all = all;
    return call((DriveRequest)REQUEST(signal, SIGNAL, &message));
}

static char *text_of(const char *container, const char *exec, int stream)
{
    GByteArray *bytes = drive_process(guest.drive, container, exec)->streams[stream];
    return g_strndup((const char *)bytes->data, bytes->len);
}

static void expect_text(const char *container, const char *exec, int stream, const char *expected)
{
    g_autofree char *text = text_of(container, exec, stream);
    if (strcmp(text, expected) != 0)
        g_printerr("%s/%s wrote \"%s\", not \"%s\"\n", container, exec, text, expected);
    CU_ASSERT_STRING_EQUAL(text, expected);
}

/* Runs a script in the container's shell to its end. */
static int exec_to_end(const char *id, const char *exec_id, const char *script)
{
    CU_ASSERT_EQUAL(status_of(exec_in(id, exec_id, script, FALSE, FALSE), NULL), 0);
    CU_ASSERT_TRUE(drive_wait_exit(guest.drive, id, exec_id, CALL_MS));
    return drive_process(guest.drive, id, exec_id)->exit_code;
}

/* ---- tests, in this order, on one guest ---- */

static void boots_and_answers(void)
{
    gint64 start_us = now_us();
    start_qemu(g_getenv("CRIVIRT_TEST_KERNEL"), g_getenv("CRIVIRT_TEST_INITRD"));
    g_autofree char *path = in_directory("agent.sock");
    guest.drive = drive_new(path);
    DriveResponse *response = drive_connect(guest.drive, BOOT_MS);
    CU_ASSERT_PTR_NOT_NULL_FATAL(response);
    measured("exec of QEMU to Hello's answer", (double)(now_us() - start_us) / 1000, "ms");
    CU_ASSERT_PTR_NOT_NULL_FATAL(response->hello);
    CU_ASSERT_EQUAL(response->hello->protocol_version, WIRE_PROTOCOL_VERSION);
    CU_ASSERT_STRING_EQUAL(response->hello->sandbox_id, "");
    CU_ASSERT_STRING_EQUAL(response->hello->boot_id, "");
    crivirt__agent__v1__response__free_unpacked(response, NULL);
    qmp_connect();
    qmp_command("{\"execute\":\"qmp_capabilities\"}\n");
}

static void refuses_containers_before_setup(void)
{
    CU_ASSERT_EQUAL(status_of(create("early", &(Wish){.args = "[\"/bin/true\"]", .uid = -1}), "no pod"), 9);
}

static DriveResponse *prepare(void)
{
    Crivirt__Agent__V1__PrepareRequest prepare = INIT(PREPARE_REQUEST);
    Crivirt__Agent__V1__Disk upper = INIT(DISK);

    upper.lun = 0;
    upper.serial = (char *)"upper";
    prepare.writable_disk = &upper;
    return call((DriveRequest)REQUEST(prepare, PREPARE, &prepare));
}

/* address NULL: without a Setup request. */
static DriveResponse *warm_up(const char *address)
{
    Crivirt__Agent__V1__WarmUpRequest request = INIT(WARM_UP_REQUEST);
    Crivirt__Agent__V1__SetupRequest setup = INIT(SETUP_REQUEST);
    Crivirt__Agent__V1__Interface eth0 = INIT(INTERFACE), *interfaces[] = {&eth0};
    Crivirt__Agent__V1__Route route = INIT(ROUTE), *routes[] = {&route};
    char *addresses[] = {(char *)address};

    eth0.name = (char *)"eth0";
    eth0.find_mac = eth0.mac = (char *)"52:54:00:00:00:01";
    eth0.addresses = addresses;
    eth0.n_addresses = 1;
    route.destination = (char *)"0.0.0.0/0";
    route.gateway = (char *)"192.0.2.1";
    route.device = (char *)"eth0";
    setup.interfaces = interfaces;
    setup.n_interfaces = 1;
    setup.routes = routes;
    setup.n_routes = 1;
    request.setup = address != NULL ? &setup : NULL;
    return call((DriveRequest)REQUEST(warm_up, WARM_UP, &request));
}

/* configures_the_network_and_the_pod() would see what this leaves. */
static void is_warmed_up_before_it_is_a_pod(void)
{
    CU_ASSERT_EQUAL(status_of(warm_up("192.0.2.2/24"), "has not been prepared"), 9);
    CU_ASSERT_EQUAL(status_of(prepare(), NULL), 0);
    CU_ASSERT_EQUAL(status_of(warm_up(NULL), "has no Setup request"), 3);
    CU_ASSERT_EQUAL(status_of(warm_up("192.0.2.2/99"), "is not an address"), 3);
    CU_ASSERT_EQUAL(status_of(warm_up("192.0.2.2/24"), NULL), 0);
    CU_ASSERT_EQUAL(status_of(warm_up("192.0.2.2/24"), NULL), 0);
}

static DriveResponse *set_up(const char *sandbox_id)
{
    Crivirt__Agent__V1__SetupRequest setup = INIT(SETUP_REQUEST);
    Crivirt__Agent__V1__Interface eth0 = INIT(INTERFACE), *interfaces[] = {&eth0};
    Crivirt__Agent__V1__Route route4 = INIT(ROUTE), route6 = INIT(ROUTE), link = INIT(ROUTE);
    Crivirt__Agent__V1__Route *routes[] = {&link, &route4, &route6};
    Crivirt__Agent__V1__Sysctl forward = INIT(SYSCTL), *sysctls[] = {&forward};
    Crivirt__Agent__V1__Disk upper = INIT(DISK);
    char *addresses[] = {(char *)"10.9.8.7/24", (char *)"fd00:9::7/64"};

    eth0.name = (char *)"eth0";
    eth0.find_mac = (char *)"52:54:00:00:00:01";
    eth0.mac = (char *)"02:00:0a:09:08:07";
    eth0.mtu = 1400;
    eth0.addresses = addresses;
    eth0.n_addresses = 2;
    eth0.fixed_addresses = true;
    link.destination = (char *)"169.254.1.1/32";
    link.device = (char *)"eth0";
    route4.destination = (char *)"0.0.0.0/0";
    route4.gateway = (char *)"10.9.8.1";
    route4.device = (char *)"eth0";
    route4.mtu = 1350;
    route6.destination = (char *)"::/0";
    route6.gateway = (char *)"fd00:9::1";
    route6.device = (char *)"eth0";
    forward.name = (char *)"net.ipv4.ip_unprivileged_port_start";
    forward.value = (char *)"0";
    upper.lun = 0;
    upper.serial = (char *)"upper";
    setup.sandbox_id = (char *)sandbox_id;
    setup.hostname = (char *)"pod-one";
    setup.hosts.data = (guint8 *)"127.0.0.1 localhost\n";
    setup.hosts.len = 20;
    setup.interfaces = interfaces;
    setup.n_interfaces = 1;
    setup.routes = routes;
    setup.n_routes = 3;
    setup.sysctls = sysctls;
    setup.n_sysctls = 1;
    setup.writable_disk = &upper;
    setup.wall_clock_ns = G_GINT64_CONSTANT(1900000000000000000);
    setup.entropy.data = (guint8 *)"0123456789abcdef0123456789abcdef";
    setup.entropy.len = 32;
    return call((DriveRequest)REQUEST(setup, SETUP, &setup));
}

static void rehearse(const char *id, int expected, const char *why)
{
    const Wish wish = {.args = "[\"/init\",\"--wait\"]", .uid = -1, .rehearsal = TRUE};
    DriveResponse *response = create(id, &wish);

    CU_ASSERT_EQUAL(status_of(response, why), expected);
}

static void rehearses_a_container_before_it_is_a_pod(void)
{
    rehearse("rehearsal", 0, NULL);
    CU_ASSERT_EQUAL(status_of(start("rehearsal"), NULL), 0);
    CU_ASSERT_EQUAL(status_of(delete ("rehearsal"), NULL), 0);
}

static DriveResponse *empty_memory(guint64 max_bytes)
{
    Crivirt__Agent__V1__EmptyMemoryRequest request = INIT(EMPTY_MEMORY_REQUEST);

    request.max_bytes = max_bytes;
    return call((DriveRequest)REQUEST(empty_memory, EMPTY_MEMORY, &request));
}

static void empties_its_memory_before_it_is_a_pod(void)
{
    CU_ASSERT_EQUAL(status_of(empty_memory(8 << 20), NULL), 0);
    CU_ASSERT_EQUAL(status_of(empty_memory(0), NULL), 0);
    CU_ASSERT_EQUAL(status_of(empty_memory(G_MAXUINT64), NULL), 0);
}

static void becomes_a_pod_once(void)
{
    gint64 start_us = now_us();
    CU_ASSERT_EQUAL(status_of(set_up("pod1"), NULL), 0);
    measured("Setup", (double)(now_us() - start_us) / 1000, "ms");
    CU_ASSERT_EQUAL(status_of(set_up("pod1"), NULL), 0);
    CU_ASSERT_EQUAL(status_of(set_up("pod2"), "already the guest of sandbox pod1"), 9);
    CU_ASSERT_EQUAL(status_of(set_up("../x"), "id"), 3);
    CU_ASSERT_EQUAL(status_of(warm_up("192.0.2.2/24"), "already the guest of sandbox pod1"), 9);
    rehearse("late", 9, "too late to rehearse");
    CU_ASSERT_EQUAL(status_of(empty_memory(8 << 20), "already the guest of sandbox pod1"), 9);
}

static void runs_a_container_from_hot_plugged_layers(void)
{
    const Wish wish = {
        .args =
            "[\"/bin/sh\",\"-c\",\"cat /etc/which; id; echo $GREETING $HOME >&2; cat /etc/hosts; exit 3\"]",
        .user_name = "alice",
        .uid = -1,
        .n_layers = 2};
    gint64 start_us = now_us();
    plug("a.img", 1, "layer-a");
    plug("b.img", 300, "layer-b");
    measured("two device_add", (double)(now_us() - start_us) / 1000, "ms");
    start_us = now_us();
    DriveResponse *response = create("c1", &wish);
    CU_ASSERT_PTR_NOT_NULL_FATAL(response);
    if (response->create_container != NULL) {
        CU_ASSERT_EQUAL(response->create_container->uid, 1000);
        CU_ASSERT_EQUAL(response->create_container->gid, 1001);
        CU_ASSERT_EQUAL(response->create_container->n_groups, 2);
    }
    CU_ASSERT_EQUAL_FATAL(status_of(response, NULL), 0);
    measured("CreateContainer, disks just plugged", (double)(now_us() - start_us) / 1000, "ms");
    start_us = now_us();
    CU_ASSERT_EQUAL(status_of(start("c1"), NULL), 0);
    measured("StartContainer", (double)(now_us() - start_us) / 1000, "ms");
    CU_ASSERT_TRUE(drive_wait_exit(guest.drive, "c1", "", CALL_MS));
    CU_ASSERT_EQUAL(drive_process(guest.drive, "c1", "")->exit_code, 3);
    expect_text("c1", "", 0,
                "upper\nuid=1000(alice) gid=1001(alice) groups=50(staff),1001(alice)\n"
                "127.0.0.1 localhost\n");
    expect_text("c1", "", 1, "hello /work\n");
    CU_ASSERT_TRUE(drive_process(guest.drive, "c1", "")->eof[0] &&
                   drive_process(guest.drive, "c1", "")->eof[1]);
    /* A daemon that died before the response asks again. */
    CU_ASSERT_EQUAL(status_of(start("c1"), NULL), 0);
    CU_ASSERT_EQUAL(status_of(create("c1", &wish), "exists already"), 6);
}

/* The container can be created. StartContainer fails, also when it is repeated, and the container has exited.
 */
static void expect_not_startable(const char *id, const Wish *wish, const char *why)
{
    CU_ASSERT_EQUAL(status_of(create(id, wish), NULL), 0);
    CU_ASSERT_EQUAL(status_of(start(id), why), 13);
    CU_ASSERT_EQUAL(status_of(start(id), why), 13);
    CU_ASSERT_EQUAL(status_of(exec_in(id, "e", "true", FALSE, FALSE), "is not running"), 9);
    CU_ASSERT_EQUAL(status_of(delete (id), NULL), 0);
}

static void says_why_a_container_cannot_be_created(void)
{
    Wish wish = {.args = "[\"/bin/nothing\"]", .uid = -1, .n_layers = 2};
    expect_not_startable("bad1", &wish, "/bin/nothing");
    wish.args = "[\"/bin/true\"]";
    wish.user_name = "mallory";
    CU_ASSERT_EQUAL(
        status_of(create("bad2", &wish), "unable to find user mallory: no matching entries in passwd file"),
        3);
    CU_ASSERT_EQUAL(status_of(create("../../bad3", &wish), "id"), 3);
    CU_ASSERT_EQUAL(status_of(start("nobody"), "has no container nobody"), 5);
    /* what crun refuses for another reason than the program is an error of CreateContainer */
    CU_ASSERT_EQUAL(status_of(create("bad4", &(Wish){.args = "nonsense", .n_layers = 2}), "crun create"), 13);
    /* the names are free again */
    wish.user_name = NULL;
    CU_ASSERT_EQUAL(status_of(create("bad2", &wish), NULL), 0);
    CU_ASSERT_EQUAL(status_of(delete ("bad2"), NULL), 0);
}

static void configures_the_network_and_the_pod(void)
{
    const Wish wish = {.args = "[\"/bin/sleep\",\"1000\"]", .uid = -1, .n_layers = 2, .user_name = ""};
    CU_ASSERT_EQUAL_FATAL(status_of(create("main", &wish), NULL), 0);
    CU_ASSERT_EQUAL_FATAL(status_of(start("main"), NULL), 0);
    CU_ASSERT_EQUAL(
        exec_to_end(
            "main", "net",
            "ip -4 addr show eth0 | grep -c 10.9.8.7/24; ip -6 addr show eth0 | grep -c tentative;"
            "ip link show eth0 | grep -c 02:00:0a:09:08:07; ip link show eth0 | grep -c 'mtu 1400';"
            "ip route | grep -c 'default via 10.9.8.1'; ip -6 route | grep -c 'default via fd00:9::1';"
            "ip route | grep -c '169.254.1.1 dev eth0 scope link'; hostname;"
            "ip addr show lo | grep -c 127.0.0.1; (ip addr; ip route) | grep -c 192.0.2.; "
            "cat /proc/sys/net/ipv4/ip_unprivileged_port_start; cat /proc/sys/net/ipv6/conf/eth0/autoconf;"
            "test $(date +%s) -gt 1899999999 && echo clock"),
        0);
    expect_text("main", "net", 0, "1\n0\n1\n1\n1\n1\n1\npod-one\n1\n0\n0\n0\nclock\n");
}

typedef struct {
    gint64 monotonic_ns;
    gint64 wall_ns;
} Clocks;

static Clocks clocks(void)
{
    Crivirt__Agent__V1__PingRequest ping = INIT(PING_REQUEST);
    DriveResponse *response = call((DriveRequest)REQUEST(ping, PING, &ping));
    CU_ASSERT_PTR_NOT_NULL_FATAL(response);
    CU_ASSERT_PTR_NOT_NULL_FATAL(response->ping);
    Clocks told = {response->ping->monotonic_ns, response->ping->wall_clock_ns};
    crivirt__agent__v1__response__free_unpacked(response, NULL);
    return told;
}

/* By how much the wall clock went ahead of the monotonic one since then. */
static gint64 ahead_of(Clocks before)
{
    Clocks now = clocks();
    return (now.wall_ns - before.wall_ns) - (now.monotonic_ns - before.monotonic_ns);
}

static int set_clock(gint64 monotonic_ns, gint64 wall_ns, const char *text)
{
    Crivirt__Agent__V1__SetClockRequest set_clock = INIT(SET_CLOCK_REQUEST);
    set_clock.monotonic_ns = monotonic_ns;
    set_clock.wall_clock_ns = wall_ns;
    return status_of(call((DriveRequest)REQUEST(set_clock, SET_CLOCK, &set_clock)), text);
}

/* The guest's two clocks are read one after the other, and an emulated guest may be slow between. */
static void sets_its_clock(void)
{
    const gint64 second = G_GINT64_CONSTANT(1000000000), hour = 3600 * second;
    Clocks before = clocks();
    CU_ASSERT_TRUE(before.wall_ns / second >= 1900000000);
    CU_ASSERT_TRUE(ABS(ahead_of(before)) < second / 4);
    for (int i = 0; i < 2; i++) { /* a repetition changes nothing */
        CU_ASSERT_EQUAL(set_clock(before.monotonic_ns, before.wall_ns + hour, NULL), 0);
        CU_ASSERT_TRUE(ABS(ahead_of(before) - hour) < second / 4);
    }
    CU_ASSERT_EQUAL(set_clock(before.monotonic_ns, before.wall_ns, NULL), 0);
    CU_ASSERT_TRUE(ABS(ahead_of(before)) < second / 4);
    Clocks now = clocks();
    CU_ASSERT_EQUAL(set_clock(now.monotonic_ns, now.wall_ns - second * 2 / 5, NULL), 0);
    CU_ASSERT_TRUE(ABS(ahead_of(now)) < second / 4); /* it goes more slowly for a while, and does not leap */
    CU_ASSERT_EQUAL(set_clock(now.monotonic_ns, 0, "no moment of this guest"), 3);
    CU_ASSERT_EQUAL(set_clock(now.monotonic_ns + hour, now.wall_ns, "no moment of this guest"), 3);
}

static void execs_as_the_container(void)
{
    CU_ASSERT_EQUAL(exec_to_end("main", "e1",
                                "id -u; pwd; echo $GREETING $HOME; grep CapEff /proc/self/status; "
                                "grep NoNewPrivs /proc/self/status; ulimit -n; cat /proc/self/oom_score_adj; "
                                "cat /proc/self/cgroup; exit 7"),
                    7);
    g_autofree char *text = text_of("main", "e1", 0);
    CU_ASSERT_STRING_EQUAL(text,
                           "0\n/work\nhello /\nCapEff:\t0000000000000020\nNoNewPrivs:\t1\n77\n100\n0::/\n");
    if (g_getenv("CRIVIRT_TEST_MEASURE") != NULL)
        g_print("%s", text);
    CU_ASSERT_EQUAL(status_of(exec_in("nobody", "e2", "true", FALSE, FALSE), "has no container nobody"), 5);
    gint64 start_us = now_us();
    for (int i = 0; i < 5; i++) {
        g_autofree char *id = g_strdup_printf("time%d", i);
        CU_ASSERT_EQUAL(exec_to_end("main", id, "true"), 0);
    }
    measured("Exec of true, to Exited", (double)(now_us() - start_us) / 5000, "ms");
}

/* A ping is answered while execs wait, and an exec that is hung up while it waits is never started. */
static void starts_execs_in_turn(void)
{
    enum { MANY = 12, LAST = MANY - 1 };
    Crivirt__Agent__V1__PingRequest ping = INIT(PING_REQUEST);
    char *ids[MANY];

    for (int i = 0; i < MANY; i++) {
        ids[i] = g_strdup_printf("turn%d", i);
        exec_how(POST, "main", ids[i], i < LAST ? "echo it was my turn" : "echo > /tmp/never", FALSE, FALSE);
    }
    drive_hang_up(guest.drive, "main", ids[LAST]);
    CU_ASSERT_EQUAL(status_of(call((DriveRequest)REQUEST(ping, PING, &ping)), NULL), 0);
    CU_ASSERT_FALSE(drive_process(guest.drive, "main", ids[LAST - 1])->exited);
    for (int i = 0; i < LAST; i++) {
        CU_ASSERT_TRUE(drive_wait_exit(guest.drive, "main", ids[i], MANY * CALL_MS));
        expect_text("main", ids[i], 0, "it was my turn\n");
    }
    CU_ASSERT_EQUAL(exec_to_end("main", "look", "ls /tmp/never"), 1);
    CU_ASSERT_EQUAL(status_of(signal_to("main", ids[LAST], SIGKILL, FALSE), "no process"), 5);
    for (int i = 0; i < MANY; i++)
        g_free(ids[i]);
}

static void a_background_child_does_not_hold_the_exit(void)
{
    gint64 start_us = now_us();
    CU_ASSERT_EQUAL(exec_to_end("main", "bg", "sleep 1000 & echo done"), 0);
    expect_text("main", "bg", 0, "done\n");
    CU_ASSERT_TRUE(now_us() - start_us < 6000000);
}

static void feeds_standard_input(void)
{
    g_autoptr(GString) much = g_string_new(NULL);
    while (much->len < 700000)
        g_string_append_printf(much, "line %zu\n", much->len);
    CU_ASSERT_EQUAL(status_of(exec_in("main", "in", "cat", FALSE, TRUE), NULL), 0);
    drive_input(guest.drive, "main", "in", much->str, 100, FALSE);
    drive_input(guest.drive, "main", "in", much->str + 100, much->len - 100, TRUE);
    CU_ASSERT_TRUE(drive_wait_exit(guest.drive, "main", "in", CALL_MS));
    GByteArray *out = drive_process(guest.drive, "main", "in")->streams[0];
    CU_ASSERT_EQUAL(out->len, much->len);
    CU_ASSERT_TRUE(out->len == much->len && memcmp(out->data, much->str, out->len) == 0);
}

static gboolean has_a_line(gpointer data)
{
    const GByteArray *text = data;

    return text->len > 0 && text->data[text->len - 1] == '\n';
}

static void gives_terminals(void)
{
    Crivirt__Agent__V1__ResizeRequest resize = INIT(RESIZE_REQUEST);
    Crivirt__Agent__V1__ProcessId id = INIT(PROCESS_ID);

    CU_ASSERT_EQUAL(
        status_of(exec_in("main", "tty", "stty size; read x; echo got $x; stty size", TRUE, TRUE), NULL), 0);
    id.container_id = (char *)"main";
    id.exec_id = (char *)"tty";
    resize.process = &id;
    resize.columns = 120;
    resize.rows = 40;
    CU_ASSERT_TRUE(
        drive_run(guest.drive, has_a_line, drive_process(guest.drive, "main", "tty")->streams[0], CALL_MS));
    CU_ASSERT_EQUAL(status_of(call((DriveRequest)REQUEST(resize, RESIZE, &resize)), NULL), 0);
    drive_input(guest.drive, "main", "tty", "word\n", 5, FALSE);
    CU_ASSERT_TRUE(drive_wait_exit(guest.drive, "main", "tty", CALL_MS));
    expect_text("main", "tty", 0, "17 91\r\nword\r\ngot word\r\n40 120\r\n");

    const Wish wish = {
        .args = "[\"/bin/sh\",\"-c\",\"test -t 0 && echo terminal\"]", .uid = -1, .n_layers = 2, .tty = TRUE};
    CU_ASSERT_EQUAL(status_of(create("term", &wish), NULL), 0);
    CU_ASSERT_EQUAL(status_of(start("term"), NULL), 0);
    CU_ASSERT_TRUE(drive_wait_exit(guest.drive, "term", "", CALL_MS));
    expect_text("term", "", 0, "terminal\r\n");
    CU_ASSERT_EQUAL(status_of(delete ("term"), NULL), 0);
}

static gboolean has_a_little(gpointer data)
{
    return ((DriveProcess *)data)->streams[0]->len > 300000;
}

/* The numbers 1…n, each on a line. */
static gboolean is_sequence(const GByteArray *bytes, guint n)
{
    g_autoptr(GString) expected = g_string_new(NULL);
    for (guint i = 1; i <= n; i++)
        g_string_append_printf(expected, "%u\n", i);
    return bytes->len == expected->len && memcmp(bytes->data, expected->str, bytes->len) == 0;
}

static void loses_no_output_when_the_daemon_dies(void)
{
    CU_ASSERT_EQUAL(
        status_of(exec_in("main", "loud", "seq 1 600000; echo end >&2; exit 4", FALSE, FALSE), NULL), 0);
    DriveProcess *process = drive_process(guest.drive, "main", "loud");
    for (int i = 0; i < 6; i++) {
        static const guint8 half_a_frame[] = {100, 0, 0, 0, 1, 2, 3, 4, 5};
        gsize more = process->streams[0]->len;
        if (i % 2 == 1)
            guest.drive->silent = TRUE; /* the daemon dies with output that it has not acknowledged */
        drive_run(guest.drive, has_a_little, process, 300);
        drive_wait_exit(guest.drive, "main", "loud", 30);
        if (i % 3 == 2)
            drive_send_raw(guest.drive, half_a_frame, sizeof half_a_frame);
        drive_kill(guest.drive);
        DriveResponse *response = drive_connect(guest.drive, CALL_MS);
        CU_ASSERT_PTR_NOT_NULL_FATAL(response);
        CU_ASSERT_PTR_NOT_NULL_FATAL(response->hello);
        CU_ASSERT_STRING_EQUAL(response->hello->sandbox_id, "pod1");
        CU_ASSERT_EQUAL(response->hello->n_containers, 2);
        crivirt__agent__v1__response__free_unpacked(response, NULL);
        CU_ASSERT_TRUE(process->streams[0]->len >= more);
    }
    CU_ASSERT_TRUE(drive_wait_exit(guest.drive, "main", "loud", CALL_MS));
    CU_ASSERT_EQUAL(process->exit_code, 4);
    CU_ASSERT_EQUAL(process->gaps, 0);
    CU_ASSERT_TRUE(is_sequence(process->streams[0], 600000));
    expect_text("main", "loud", 1, "end\n");
    measured("bytes sent again over 6 reconnects", (double)process->repeated, "bytes");
}

static void waits_with_an_exit_until_it_is_acknowledged(void)
{
    Crivirt__Agent__V1__PingRequest ping = INIT(PING_REQUEST);

    drive_process(guest.drive, "main", "quiet");
    guest.drive->silent = TRUE;
    CU_ASSERT_EQUAL(exec_to_end("main", "quiet", "echo word; exit 9"), 9);
    drive_process(guest.drive, "main", "quiet")->exited = FALSE;
    drive_kill(guest.drive);
    crivirt__agent__v1__response__free_unpacked(drive_connect(guest.drive, CALL_MS), NULL);
    CU_ASSERT_TRUE(drive_wait_exit(guest.drive, "main", "quiet", CALL_MS));
    expect_text("main", "quiet", 0, "word\n");
    drive_process(guest.drive, "main", "quiet")->exited = FALSE;
    CU_ASSERT_EQUAL(status_of(call((DriveRequest)REQUEST(ping, PING, &ping)), NULL),
                    0); /* the agent has the Ack now */
    drive_kill(guest.drive);
    crivirt__agent__v1__response__free_unpacked(drive_connect(guest.drive, CALL_MS), NULL);
    CU_ASSERT_FALSE(drive_wait_exit(guest.drive, "main", "quiet", 300));
}

static void survives_nonsense(void)
{
    g_autofree guint8 *noise = g_malloc(200000);
    for (int round = 0; round < 3; round++) {
        for (gsize i = 0; i < 200000; i++)
            noise[i] = (guint8)g_random_int();
        drive_send_raw(guest.drive, noise, 200000);
        guint8 frame[WIRE_HEADER_BYTES + 64];
        memcpy(frame + WIRE_HEADER_BYTES, noise, 64);
        wire_header_encode(frame + WIRE_HEADER_BYTES, 64, 0, frame);
        drive_send_raw(guest.drive, frame, sizeof frame);
        drive_kill(guest.drive);
        DriveResponse *response = drive_connect(guest.drive, CALL_MS);
        CU_ASSERT_PTR_NOT_NULL_FATAL(response);
        drive_send_raw(guest.drive, frame, sizeof frame); /* a valid frame without a valid message */
        crivirt__agent__v1__response__free_unpacked(response, NULL);
    }
    DriveRequest unknown = INIT(REQUEST);
    CU_ASSERT_EQUAL(status_of(call(unknown), "does not support"), 12);
}

static void counts_an_oom_kill(void)
{
    const Wish wish = {
        .args = "[\"/bin/awk\",\"BEGIN{s=\\\"x\\\";while(1)s=s s}\"]", .uid = 5, .n_layers = 2};
    CU_ASSERT_EQUAL(status_of(create("hog", &wish), NULL), 0);
    CU_ASSERT_EQUAL(status_of(start("hog"), NULL), 0);
    CU_ASSERT_TRUE(drive_wait_exit(guest.drive, "hog", "", CALL_MS));
    CU_ASSERT_EQUAL(drive_process(guest.drive, "hog", "")->exit_code, 137);
    CU_ASSERT_TRUE(drive_process(guest.drive, "hog", "")->oom_killed);
    CU_ASSERT_EQUAL(status_of(delete ("hog"), NULL), 0);
}

static void runs_a_container_without_layers(void)
{
    /* there is no program in it, so crun fails and the mount does not */
    expect_not_startable("empty", &(Wish){.args = "[\"/bin/true\"]", .uid = -1}, "/bin/true");
}

static void gives_its_kernel_log(void)
{
    Crivirt__Agent__V1__KernelLogRequest message = INIT(KERNEL_LOG_REQUEST);
    DriveResponse *response;

    message.max_bytes = 64 << 10;
    response = call((DriveRequest)REQUEST(kernel_log, KERNEL_LOG, &message));
    CU_ASSERT_PTR_NOT_NULL_FATAL(response->kernel_log);
    CU_ASSERT_PTR_NOT_NULL(g_strstr_len((const char *)response->kernel_log->text.data,
                                        (gssize)response->kernel_log->text.len, "Linux version"));
    crivirt__agent__v1__response__free_unpacked(response, NULL);
    message.max_bytes = 100;
    response = call((DriveRequest)REQUEST(kernel_log, KERNEL_LOG, &message));
    CU_ASSERT_PTR_NOT_NULL_FATAL(response->kernel_log);
    CU_ASSERT_TRUE(response->kernel_log->text.len <= 100);
    crivirt__agent__v1__response__free_unpacked(response, NULL);
}

static int set_paused(const char *id, gboolean paused, const char *text)
{
    Crivirt__Agent__V1__PauseContainerRequest message = INIT(PAUSE_CONTAINER_REQUEST);

    message.id = (char *)id;
    message.paused = paused;
    return status_of(call((DriveRequest)REQUEST(pause_container, PAUSE_CONTAINER, &message)), text);
}

/* Runs a script in the guest itself, with the container's shell, to its end. */
static int in_guest_to_end(const char *id, const char *exec_id, const char *script)
{
    Crivirt__Agent__V1__ExecRequest message = INIT(EXEC_REQUEST);
    Crivirt__Agent__V1__ProcessId process = INIT(PROCESS_ID);
    char *args[] = {(char *)"/bin/sh", (char *)"-c", (char *)script};

    process.container_id = (char *)id;
    process.exec_id = (char *)exec_id;
    message.process = &process;
    message.args = args;
    message.n_args = 3;
    message.in_guest = TRUE;
    CU_ASSERT_EQUAL(status_of(call((DriveRequest)REQUEST(exec, EXEC, &message)), NULL), 0);
    CU_ASSERT_TRUE(drive_wait_exit(guest.drive, id, exec_id, CALL_MS));
    return drive_process(guest.drive, id, exec_id)->exit_code;
}

static void pauses_a_container(void)
{
    for (int i = 0; i < 2; i++) /* a repetition changes nothing */
        CU_ASSERT_EQUAL(set_paused("main", TRUE, NULL), 0);
    CU_ASSERT_EQUAL(status_of(exec_in("main", "asleep", "true", FALSE, FALSE), "is paused"), 9);
    CU_ASSERT_EQUAL(in_guest_to_end("main", "frozen", "cat /sys/fs/cgroup/crivirt/main/cgroup.freeze"), 0);
    expect_text("main", "frozen", 0, "1\n");
    CU_ASSERT_EQUAL(set_paused("main", FALSE, NULL), 0);
    CU_ASSERT_EQUAL(exec_to_end("main", "awake", "true"), 0);
    CU_ASSERT_EQUAL(set_paused("nobody", TRUE, "has no container nobody"), 5);
}

static void a_paused_container_can_be_deleted(void)
{
    const Wish wish = {.args = "[\"/bin/sleep\",\"1000\"]", .uid = -1, .n_layers = 2};

    CU_ASSERT_EQUAL_FATAL(status_of(create("still", &wish), NULL), 0);
    CU_ASSERT_EQUAL(set_paused("still", TRUE, "is not running"), 9);
    CU_ASSERT_EQUAL_FATAL(status_of(start("still"), NULL), 0);
    CU_ASSERT_EQUAL(set_paused("still", TRUE, NULL), 0);
    CU_ASSERT_EQUAL(status_of(delete ("still"), NULL), 0);
}

static void runs_commands_in_the_guest_itself(void)
{
    const Wish wish = {.args = "[\"/bin/sleep\",\"1000\"]", .uid = -1, .n_layers = 2};

    CU_ASSERT_EQUAL(
        in_guest_to_end("main", "g1",
                        "id -u; test -e /proc/1/root/init && echo guest; test -c /dev/kmsg && echo devices;"
                        "cat /proc/self/oom_score_adj; exit 7"),
        7);
    expect_text("main", "g1", 0, "0\nguest\ndevices\n0\n");
    CU_ASSERT_EQUAL(exec_to_end("main", "g2", "test -c /dev/kmsg"), 1); /* its mounts are its own */
    CU_ASSERT_EQUAL_FATAL(status_of(create("shelled", &wish), NULL), 0);
    CU_ASSERT_EQUAL_FATAL(status_of(start("shelled"), NULL), 0);
    CU_ASSERT_EQUAL(in_guest_to_end("shelled", "g3", "(setsid sleep 4343 >/dev/null 2>&1 &)"), 0);
    CU_ASSERT_EQUAL(
        in_guest_to_end("main", "g4", "cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c 'sleep 434[3]'"), 0);
    CU_ASSERT_EQUAL(status_of(delete ("shelled"), NULL), 0);
    CU_ASSERT_EQUAL(
        in_guest_to_end("main", "g5", "cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c 'sleep 434[3]'"), 1);
}

static void kills_an_exec_and_a_container(void)
{
    CU_ASSERT_EQUAL(status_of(exec_in("main", "victim", "sleep 1000", FALSE, FALSE), NULL), 0);
    CU_ASSERT_EQUAL(status_of(signal_to("main", "victim", SIGKILL, TRUE), NULL), 0);
    CU_ASSERT_TRUE(drive_wait_exit(guest.drive, "main", "victim", CALL_MS));
    CU_ASSERT_EQUAL(drive_process(guest.drive, "main", "victim")->exit_code, 137);
    CU_ASSERT_EQUAL(status_of(signal_to("main", "victim", SIGKILL, FALSE), "no process \"victim\""), 5);
    CU_ASSERT_EQUAL(status_of(signal_to("main", "", 99, FALSE), "is not a signal number"), 3);
    CU_ASSERT_EQUAL(status_of(signal_to("main", "", SIGKILL, TRUE), NULL), 0);
    CU_ASSERT_TRUE(drive_wait_exit(guest.drive, "main", "", CALL_MS));
    CU_ASSERT_EQUAL(status_of(signal_to("main", "", SIGTERM, FALSE), NULL), 0);
}

/* How many processes that the container sees have a command line that the pattern matches. */
static void expect_processes(const char *container, const char *exec_id, const char *pattern,
                             const char *count)
{
    g_autofree char *script =
        g_strdup_printf("cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c '%s' || true", pattern);

    CU_ASSERT_EQUAL(exec_to_end(container, exec_id, script), 0);
    expect_text(container, exec_id, 0, count);
}

static void ends_with_its_cgroup(void)
{
    Wish wish = {.args = "[\"/bin/sleep\",\"1000\"]", .uid = -1, .n_layers = 2, .shared_pid = TRUE};

    CU_ASSERT_EQUAL_FATAL(status_of(create("see", &wish), NULL), 0);
    CU_ASSERT_EQUAL_FATAL(status_of(start("see"), NULL), 0);
    wish.args =
        "[\"/bin/sh\",\"-c\",\"setsid sleep 4242 >/dev/null 2>&1 & sleep 4242 & echo up; sleep 1; exit 3\"]";
    CU_ASSERT_EQUAL_FATAL(status_of(create("leaver", &wish), NULL), 0);
    CU_ASSERT_EQUAL_FATAL(status_of(start("leaver"), NULL), 0);
    CU_ASSERT_TRUE(drive_wait_exit(guest.drive, "leaver", "", CALL_MS));
    CU_ASSERT_EQUAL(drive_process(guest.drive, "leaver", "")->exit_code, 3);
    expect_processes("see", "left", "sleep 424[2]", "0\n");
    expect_processes("see", "own", "sleep 100[0]", "1\n");
    CU_ASSERT_EQUAL(status_of(delete ("leaver"), NULL), 0);
    CU_ASSERT_EQUAL(status_of(delete ("see"), NULL), 0);
}

static void expect_names(const char *exec_id, const char *script, const char *expected)
{
    CU_ASSERT_EQUAL(exec_to_end("look", exec_id, script), 0);
    expect_text("look", exec_id, 0, expected);
}

static void leaves_no_cgroup_and_no_record(void)
{
    Wish wish = {.args = "[\"/bin/sleep\",\"1000\"]", .uid = -1, .n_layers = 2};

    CU_ASSERT_EQUAL_FATAL(status_of(create("maker", &wish), NULL), 0);
    CU_ASSERT_EQUAL_FATAL(status_of(create("unstarted", &wish), NULL), 0);
    wish.sees_all = TRUE;
    CU_ASSERT_EQUAL_FATAL(status_of(create("look", &wish), NULL), 0);
    CU_ASSERT_EQUAL_FATAL(status_of(start("look"), NULL), 0);
    expect_names("created", "cd /records && ls -d maker/exec* unstarted/exec* look/exec* 2>/dev/null || true",
                 "maker/exec.fifo\nunstarted/exec.fifo\n");
    CU_ASSERT_EQUAL_FATAL(status_of(start("maker"), NULL), 0);
    expect_names("started", "cd /records && ls -d maker/exec* unstarted/exec* 2>/dev/null || true",
                 "unstarted/exec.fifo\n");
    expect_names("nest", "mkdir -p /cgroups/maker/below/deep /cgroups/maker/beside && echo made", "made\n");
    CU_ASSERT_EQUAL(status_of(delete ("maker"), NULL), 0);
    CU_ASSERT_EQUAL(status_of(delete ("unstarted"), NULL), 0);
    expect_names("end",
                 "ls /records | grep -E 'maker|unstarted|rehearsal'; ls -d /cgroups/maker /cgroups/unstarted "
                 "/cgroups/rehearsal 2>/dev/null; ls -d /cgroups/look",
                 "/cgroups/look\n");
    CU_ASSERT_EQUAL(status_of(delete ("look"), NULL), 0);
}

/* Prints the number of processes of that name. */
#define COUNT_SERVERS "cat /proc/[0-9]*/comm | grep -c '^crun-server$' || true"

static void does_without_the_server_of_crun(void)
{
    Wish wish = {.args = "[\"/bin/sleep\",\"1000\"]", .uid = -1, .n_layers = 2, .in_guest_pids = TRUE};

    CU_ASSERT_EQUAL_FATAL(status_of(create("look", &wish), NULL), 0);
    CU_ASSERT_EQUAL_FATAL(status_of(start("look"), NULL), 0);
    expect_names("one", COUNT_SERVERS, "1\n");
    expect_names(
        "kill",
        "for p in /proc/[0-9]*; do if [ \"$(cat $p/comm)\" = crun-server ]; then kill -9 ${p#/proc/}; "
        "fi; done; echo killed",
        "killed\n");
    expect_names("none", COUNT_SERVERS, "0\n");
    wish.in_guest_pids = FALSE;
    CU_ASSERT_EQUAL(status_of(create("later", &wish), NULL), 0);
    CU_ASSERT_EQUAL(status_of(start("later"), NULL), 0);
    CU_ASSERT_EQUAL(exec_to_end("later", "works", "exit 7"), 7);
    CU_ASSERT_EQUAL(status_of(delete ("later"), NULL), 0);
    CU_ASSERT_EQUAL(status_of(delete ("look"), NULL), 0);
}

static void kills_all_that_an_exec_started(void)
{
    static const char script[] =
        "setsid sleep 5151 & sleep 5151 & sh -c 'sleep 5151 & sleep 5151' & echo up; sleep 5151";

    CU_ASSERT_EQUAL_FATAL(
        status_of(create("probed", &(Wish){.args = "[\"/bin/sleep\",\"1000\"]", .uid = -1, .n_layers = 2}),
                  NULL),
        0);
    CU_ASSERT_EQUAL_FATAL(status_of(start("probed"), NULL), 0);
    CU_ASSERT_EQUAL(status_of(exec_in("probed", "tree", script, FALSE, FALSE), NULL), 0);
    CU_ASSERT_TRUE(drive_run(guest.drive, has_a_line,
                             drive_process(guest.drive, "probed", "tree")->streams[0], CALL_MS));
    CU_ASSERT_EQUAL(status_of(signal_to("probed", "tree", SIGKILL, TRUE), NULL), 0);
    CU_ASSERT_TRUE(drive_wait_exit(guest.drive, "probed", "tree", CALL_MS));
    CU_ASSERT_EQUAL(drive_process(guest.drive, "probed", "tree")->exit_code, 137);
    expect_processes("probed", "left", "sleep 515[1]", "0\n");
    expect_processes("probed", "own", "sleep 100[0]", "1\n");
    CU_ASSERT_EQUAL(status_of(delete ("probed"), NULL), 0);
}

/* More than a frame in CreateContainer, by the environment; thousands of arguments in Exec. */
static void takes_long_requests(void)
{
    enum { VARIABLES = 3000, ARGUMENTS = 5000 };
    g_autoptr(GString) env = g_string_new(NULL);
    g_autofree char *padding = g_strnfill(400, 'x');
    Crivirt__Agent__V1__ExecRequest message = INIT(EXEC_REQUEST);
    Crivirt__Agent__V1__ProcessId process = INIT(PROCESS_ID);
    char *command[ARGUMENTS];

    for (int i = 0; i < VARIABLES; i++)
        g_string_append_printf(env, ",\"V%d=%s\"", i, padding);
    CU_ASSERT_TRUE(env->len > WIRE_MAX_FRAME_BYTES);
    CU_ASSERT_EQUAL_FATAL(
        status_of(
            create("long",
                   &(Wish){.args = "[\"/bin/sleep\",\"1000\"]", .uid = -1, .n_layers = 2, .env = env->str}),
            NULL),
        0);
    CU_ASSERT_EQUAL_FATAL(status_of(start("long"), NULL), 0);
    CU_ASSERT_EQUAL(exec_to_end("long", "count", "env | grep -c ^V"), 0);
    expect_text("long", "count", 0, "3000\n");
    CU_ASSERT_EQUAL(status_of(delete ("long"), NULL), 0);

    for (int i = 0; i < ARGUMENTS; i++)
        command[i] = (char *)"word";
    command[0] = (char *)"/bin/echo";
    process.container_id = (char *)"main";
    process.exec_id = (char *)"words";
    message.process = &process;
    message.args = command;
    message.n_args = ARGUMENTS;
    CU_ASSERT_EQUAL(status_of(call((DriveRequest)REQUEST(exec, EXEC, &message)), NULL), 0);
    CU_ASSERT_TRUE(drive_wait_exit(guest.drive, "main", "words", CALL_MS));
    CU_ASSERT_EQUAL(drive_process(guest.drive, "main", "words")->streams[0]->len, (ARGUMENTS - 1) * 5);
}

static void moves_output_and_answers_quickly(void)
{
    const Wish wish = {.args = "[\"/bin/sleep\",\"1000\"]", .uid = -1, .n_layers = 2};
    Crivirt__Agent__V1__HelloRequest hello = INIT(HELLO_REQUEST);
    CU_ASSERT_EQUAL_FATAL(status_of(create("fast", &wish), NULL), 0);
    CU_ASSERT_EQUAL_FATAL(status_of(start("fast"), NULL), 0);
    gint64 start_us = now_us();
    for (int i = 0; i < 200; i++)
        crivirt__agent__v1__response__free_unpacked(call((DriveRequest)REQUEST(hello, HELLO, &hello)), NULL);
    measured("round trip of a Hello", (double)(now_us() - start_us) / 200000, "ms");
    start_us = now_us();
    CU_ASSERT_EQUAL(
        status_of(exec_in("fast", "zero", "dd if=/dev/zero bs=64k count=640 2>/dev/null", FALSE, FALSE),
                  NULL),
        0);
    CU_ASSERT_TRUE(drive_wait_exit(guest.drive, "fast", "zero", CALL_MS));
    CU_ASSERT_EQUAL(drive_process(guest.drive, "fast", "zero")->streams[0]->len, 40 << 20);
    measured("output of an exec", 40.0 * 1e6 / (double)(now_us() - start_us), "MiB/s");
}

static void deletes_and_releases_the_disks(void)
{
    CU_ASSERT_EQUAL(status_of(delete ("c1"), NULL), 0);
    CU_ASSERT_EQUAL(status_of(delete ("main"), NULL), 0);
    gint64 start_us = now_us();
    DriveResponse *response = delete ("fast"); /* still running */
    measured("DeleteContainer of a running container", (double)(now_us() - start_us) / 1000, "ms");
    CU_ASSERT_PTR_NOT_NULL_FATAL(response);
    CU_ASSERT_PTR_NOT_NULL_FATAL(response->delete_container);
    CU_ASSERT_EQUAL(response->delete_container->n_released_luns, 2);
    CU_ASSERT_EQUAL(status_of(response, NULL), 0);
    CU_ASSERT_EQUAL(status_of(delete ("fast"), NULL), 0);
    CU_ASSERT_EQUAL(status_of(delete ("never"), NULL), 0);

    /* another disk at the same unit is not the old one, and it is found */
    unplug(1);
    plug("b.img", 1, "layer-c");
    const Wish wish = {.args = "[\"/bin/true\"]", .uid = -1, .n_layers = 2};
    CU_ASSERT_EQUAL(status_of(create("wrong", &wish), "disk 1"), 14);
    unplug(1);
    plug("a.img", 1, "layer-a");
    CU_ASSERT_EQUAL(status_of(create("right", &wish), NULL), 0);
    CU_ASSERT_EQUAL(status_of(delete ("right"), NULL), 0);
}

static void powers_off(void)
{
    Crivirt__Agent__V1__ShutdownRequest shutdown_request = INIT(SHUTDOWN_REQUEST);
    gint64 start_us = now_us();
    int status;
    CU_ASSERT_EQUAL(status_of(call((DriveRequest)REQUEST(shutdown, SHUTDOWN, &shutdown_request)), NULL), 0);
    for (int i = 0; i < 1000 && waitpid(guest.pid, &status, WNOHANG) == 0; i++)
        g_usleep(10000);
    measured("Shutdown to the end of QEMU", (double)(now_us() - start_us) / 1000, "ms");
    CU_ASSERT_NOT_EQUAL(kill(guest.pid, 0), 0);
    guest.pid = 0;
    g_autofree char *path = in_directory("console.log"), *console = NULL;
    g_file_get_contents(path, &console, NULL, NULL);
    g_auto(GStrv) lines = g_strsplit(console != NULL ? console : "", "\n", -1);
    for (gsize i = 0; lines[i] != NULL; i++) {
        gboolean complaint = strstr(lines[i], "crivirt-agent:") != NULL &&
                             strstr(lines[i], "bad length or checksum") == NULL &&
                             strstr(lines[i], "the server of crun has ended") == NULL;
        if (complaint)
            g_printerr("%s\n", lines[i]);
        CU_ASSERT_FALSE(complaint);
    }
    drive_free(guest.drive);
    close(guest.qmp);
}

int main(void)
{
    static const TestCase cases[] = {
        {"a guest boots and its agent answers", boots_and_answers},
        {"a guest without a pod refuses CreateContainer", refuses_containers_before_setup},
        {"a prepared guest is warmed up, also repeatedly", is_warmed_up_before_it_is_a_pod},
        {"a guest rehearses a container before it has a pod", rehearses_a_container_before_it_is_a_pod},
        {"a guest empties its free memory before it has a pod", empties_its_memory_before_it_is_a_pod},
        {"a guest is set up for one pod, once", becomes_a_pod_once},
        {"a container runs from hot-plugged layers as the user it names",
         runs_a_container_from_hot_plugged_layers},
        {"a container that cannot be created or started gives the reason and leaves the id free",
         says_why_a_container_cannot_be_created},
        {"Setup configures network, host name, sysctls and clock", configures_the_network_and_the_pod},
        {"the clock is set for a moment of the guest, and a small difference is made up slowly",
         sets_its_clock},
        {"an exec has the container's user, directory, environment and limits", execs_as_the_container},
        {"execs beyond those that start at once wait for their turn", starts_execs_in_turn},
        {"a background child does not delay the exit of an exec", a_background_child_does_not_hold_the_exit},
        {"standard input arrives complete, and ends", feeds_standard_input},
        {"terminals have a size and echo", gives_terminals},
        {"no output is lost or repeated when daemons die", loses_no_output_when_the_daemon_dies},
        {"an exit is reported until it is acknowledged", waits_with_an_exit_until_it_is_acknowledged},
        {"malformed bytes on the channel end a connection, not the guest", survives_nonsense},
        {"a container that the OOM killer ended is reported as such", counts_an_oom_kill},
        {"a container without layers has an empty rootfs", runs_a_container_without_layers},
        {"a request may be longer than a frame, and a command have thousands of arguments",
         takes_long_requests},
        {"the kernel's log is read, as much of it as was asked for", gives_its_kernel_log},
        {"a paused container stands still and takes no execs, and the guest goes on", pauses_a_container},
        {"a paused container can be deleted", a_paused_container_can_be_deleted},
        {"a command in the guest itself is outside of the container, and ends with it",
         runs_commands_in_the_guest_itself},
        {"signals reach execs and containers", kills_an_exec_and_a_container},
        {"a container ends with all that it started, also in a shared PID namespace", ends_with_its_cgroup},
        {"a deleted container leaves no cgroup and no record of crun's, whatever it made or did not start",
         leaves_no_cgroup_and_no_record},
        {"crun is executed for each run when its server has ended", does_without_the_server_of_crun},
        {"a signal for all of an exec reaches what it has started", kills_all_that_an_exec_started},
        {"output is fast and requests are answered meanwhile", moves_output_and_answers_quickly},
        {"DeleteContainer releases the disks, and their units can be used again",
         deletes_and_releases_the_disks},
        {"the guest powers off after the response to Shutdown", powers_off},
    };
    if (g_getenv("CRIVIRT_TEST_KERNEL") == NULL || g_getenv("CRIVIRT_TEST_INITRD") == NULL) {
        g_print("skipped: CRIVIRT_TEST_KERNEL and CRIVIRT_TEST_INITRD are not set\n");
        return 77;
    }
    guest.directory = test_directory();
    make_layers();
    int result = test_main("agent_guest", cases, G_N_ELEMENTS(cases));
    if (result != 0 && g_getenv("CRIVIRT_TEST_MEASURE") != NULL) {
        g_autofree char *path = in_directory("console.log"), *console = NULL;
        if (g_file_get_contents(path, &console, NULL, NULL))
            g_print("console:\n%s\n", console);
    }
    stop_qemu();
    return result;
}
