/* SPDX-License-Identifier: Apache-2.0 */
/* Setup makes an unassigned guest the guest of a pod, MountShare mounts its share later. Prepare and WarmUp
 * run in an unassigned guest. */
#include "agent/guest/setup.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/guest/call.h"
#include "agent/guest/constant_memory.h"
#include "agent/guest/disk.h"
#include "agent/guest/net.h"
#include "agent/guest/paths.h"
#include "agent/guest/process.h"
#include "agent/guest/share_keep.h"
#include "agent/guest/sysfile.h"
#include "agent/guest/wall_clock.h"

enum {
    ENTROPY_MAX = 512,
    HOSTNAME_MAX = 64,
    DEFAULT_SHM_BYTES = 64 << 20,
    MEMORY_MARGIN_BYTES = 12 << 20,
    MEMORY_EMPTY_MAX_BYTES = 512 << 20,
    MEMORY_SETTLE_MS = 300
};

static struct {
    char sandbox_id[ID_MAX + 1];
    bool has_upper, has_shm;
    char share_tag[64]; /* of the mounted share; empty: none */
} pod;

const char *setup_sandbox_id(void)
{
    return pod.sandbox_id;
}

void setup_given(bool shm, bool upper)
{
    pod.has_shm = shm;
    pod.has_upper = upper;
}

/* Guests restored from one template are clones, with the same random numbers until this is mixed in. */
static bool pod_add_entropy(const uint8_t *data, size_t length, Fault *ret_fault)
{
    union { /* struct rand_pool_info ends in an array without a length */
        struct rand_pool_info info;
        uint8_t bytes[sizeof(struct rand_pool_info) + ENTROPY_MAX];
    } pool = {.info = {.buf_size = (int)length, .entropy_count = (int)length * 8}};

    if (length == 0)
        return true;
    if (length > ENTROPY_MAX)
        return fault(ret_fault, FAULT_INVALID_ARGUMENT,
                     "%zu bytes of entropy are more than the %d that Setup takes", length, ENTROPY_MAX);
    memcpy(pool.bytes + sizeof pool.info, data, length);
    int fd = open("/dev/urandom", O_WRONLY | O_CLOEXEC);
    bool ok = fd >= 0 && ioctl(fd, RNDADDENTROPY, &pool) == 0 && ioctl(fd, RNDRESEEDCRNG) == 0;
    if (!ok)
        fault_errno(ret_fault, "seeding the random pool");
    if (fd >= 0)
        close(fd);
    return ok;
}

/* Sets a sysctl such as "net.ipv4.ip_forward"; as in sysctl(8), a '/' stands for a dot in a name. */
static bool pod_set_sysctl(const Sysctl *sysctl, Fault *ret_fault)
{
    char path[256];
    int length = snprintf(path, sizeof path, "/proc/sys/%s", sysctl->name);
    if (length >= (int)sizeof path || strstr(sysctl->name, "..") != NULL || sysctl->name[0] == '/')
        return fault(ret_fault, FAULT_INVALID_ARGUMENT, "\"%s\" is not the name of a sysctl", sysctl->name);
    for (char *c = path + strlen("/proc/sys/"); *c != '\0'; c++) {
        if (*c == '.')
            *c = '/';
        else if (*c == '/')
            *c = '.';
    }
    return sysfile_write(path, sysctl->value) ||
           fault_errno(ret_fault, "setting sysctl %s to \"%s\"", sysctl->name, sysctl->value);
}

static bool pod_set_hostname(const char *hostname, Fault *ret_fault)
{
    size_t length = strlen(hostname);
    if (length > HOSTNAME_MAX)
        return fault(ret_fault, FAULT_INVALID_ARGUMENT, "the host name %s is longer than %d characters",
                     hostname, HOSTNAME_MAX);
    if (length > 0 && sethostname(hostname, length) < 0)
        return fault_errno(ret_fault, "setting the host name to %s", hostname);
    const Piece line[] = {{hostname, length}, {"\n", 1}};
    return file_put(SANDBOX_DIR "/hostname", 0644, line, 2, ret_fault);
}

static bool pod_write_files(const SetupRequest *request, Fault *ret_fault)
{
    const Piece hosts = {request->hosts.data, request->hosts.len};
    const Piece resolv_conf = {request->resolv_conf.data, request->resolv_conf.len};
    return pod_set_hostname(request->hostname, ret_fault) &&
           file_put(SANDBOX_DIR "/hosts", 0644, &hosts, 1, ret_fault) &&
           file_put(SANDBOX_DIR "/resolv.conf", 0644, &resolv_conf, 1, ret_fault);
}

static bool mount_shm(uint64_t bytes, Fault *ret_fault)
{
    char options[64];
    if (pod.has_shm)
        return true;
    snprintf(options, sizeof options, "mode=1777,size=%llu",
             (unsigned long long)(bytes != 0 ? bytes : DEFAULT_SHM_BYTES));
    if (!dir_put(SANDBOX_DIR "/shm", 01777, ret_fault))
        return false;
    if (mount("shm", SANDBOX_DIR "/shm", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, options) < 0)
        return fault_errno(ret_fault, "mounting the pod's /dev/shm (%s)", options);
    pod.has_shm = true;
    return true;
}

/* node NULL: the pod has no writable disk, and its writable directories are in the guest's memory. */
static bool mount_upper(const char *node, Fault *ret_fault)
{
    if (pod.has_upper)
        return true;
    const char *source = node != NULL ? node : "upper", *type = node != NULL ? "ext4" : "tmpfs";
    if (mount(source, UPPER_DIR, type, MS_NOATIME, node != NULL ? NULL : "mode=0700") < 0)
        return fault_errno(ret_fault, "mounting the pod's writable disk %s", source);
    pod.has_upper = true;
    return true;
}

/* Return: DISK_WAIT when the kernel has not probed the device yet; mount(2) fails with EINVAL for an unknown
 * tag. */
static DiskState mount_share(const char *tag, Fault *ret_fault)
{
    if (tag[0] == '\0' || strcmp(tag, pod.share_tag) == 0)
        return DISK_READY;
    if (strlen(tag) >= sizeof pod.share_tag) {
        fault(ret_fault, FAULT_INVALID_ARGUMENT, "the tag of the share, %s, is too long", tag);
        return DISK_FAILED;
    }
    /* The daemon sends another tag when the file server of the first share has died. Containers keep the old
     * share. */
    if (pod.share_tag[0] != '\0' && umount2(SHARE_DIR, MNT_DETACH) < 0)
        complain("cannot unmount the share %s: %s", pod.share_tag, strerror(errno));
    pod.share_tag[0] = '\0';
    if (mount(tag, SHARE_DIR, "virtiofs", MS_NOSUID | MS_NODEV, NULL) < 0) {
        bool unknown = errno == EINVAL;
        fault_errno(ret_fault, "mounting the share with the tag %s", tag);
        return unknown ? DISK_WAIT : DISK_FAILED;
    }
    strcpy(pod.share_tag, tag); /* NOLINT: the length has been checked */
    return DISK_READY;
}

static bool disk_may_wait(const Call *call)
{
    return clock_monotonic_ns() - call->since_ns < DISK_TIMEOUT_MS * INT64_C(1000000);
}

static bool pod_configure_network(const SetupRequest *request, Fault *ret_fault)
{
    if (!net_up_loopback(ret_fault))
        return false;
    for (size_t i = 0; i < request->n_interfaces; i++)
        if (!net_configure_interface(request->interfaces[i], ret_fault))
            return false;
    for (size_t i = 0; i < request->n_routes; i++)
        if (!net_add_route(request->routes[i], ret_fault))
            return false;
    return true;
}

static bool pod_set_sysctls(const SetupRequest *request, Fault *ret_fault)
{
    for (size_t i = 0; i < request->n_sysctls; i++)
        if (!pod_set_sysctl(request->sysctls[i], ret_fault))
            return false;
    return true;
}

static bool pod_set_up(const SetupRequest *request, const char *upper_node, Fault *ret_fault)
{
    return (request->wall_clock_ns == 0 || wall_clock_set(request->wall_clock_ns, ret_fault)) &&
           pod_add_entropy(request->entropy.data, request->entropy.len, ret_fault) &&
           pod_write_files(request, ret_fault) && pod_configure_network(request, ret_fault) &&
           pod_set_sysctls(request, ret_fault) && mount_shm(request->shm_bytes, ret_fault) &&
           mount_upper(upper_node, ret_fault);
}

/* Every step may be done twice, because a Setup that failed half-way is repeated from its start. */
void op_setup(Call *call)
{
    const SetupRequest *request = call->request->setup;
    SetupResponse result = CRIVIRT__AGENT__V1__SETUP_RESPONSE__INIT;
    DiskState upper = DISK_READY;
    char node[64];
    Fault error;

    if (!id_is_valid(request->sandbox_id))
        fault(&error, FAULT_INVALID_ARGUMENT, "the sandbox id \"%s\" is not 1 to %d of [a-zA-Z0-9_.-]",
              request->sandbox_id, ID_MAX);
    else if (strcmp(pod.sandbox_id, request->sandbox_id) == 0) {
        reply_setup(call, &result);
        return;
    } else if (pod.sandbox_id[0] != '\0')
        fault(&error, FAULT_FAILED_PRECONDITION, "this guest is already the guest of sandbox %s",
              pod.sandbox_id);
    else {
        if (request->writable_disk != NULL && !pod.has_upper)
            upper = disk_find(request->writable_disk, node, sizeof node, &error);
        if (upper == DISK_READY)
            upper = mount_share(request->share_tag, &error);
        if (upper == DISK_WAIT && disk_may_wait(call)) {
            call_retry(call, DISK_RETRY_MS);
            return;
        }
        if (upper == DISK_READY &&
            pod_set_up(request, request->writable_disk != NULL ? node : NULL, &error)) {
            strcpy(pod.sandbox_id, request->sandbox_id); /* NOLINT: a valid id */
            reply_setup(call, &result);
            return;
        }
    }
    call_fail(call, &error);
}

bool setup_again(const SetupRequest *request, Fault *ret_fault)
{
    if (!id_is_valid(request->sandbox_id))
        return fault(ret_fault, FAULT_INVALID_ARGUMENT,
                     "the sandbox id \"%s\" is not 1 to %d of [a-zA-Z0-9_.-]", request->sandbox_id, ID_MAX);
    for (size_t i = 0; i < request->n_interfaces; i++)
        if (!net_clear_interface(request->interfaces[i], ret_fault))
            return false;
    if (!pod_set_up(request, NULL, ret_fault))
        return false;
    strcpy(pod.sandbox_id, request->sandbox_id); /* NOLINT: a valid id */
    return true;
}

/* Free pages still contain the data that they had. Allocating them overwrites them with zeros; the kernel
 * gives those first that were freed last. */
static void empty_free_memory(int64_t max_bytes)
{
    int64_t free_bytes = sysfile_meminfo_bytes("MemFree:") - MEMORY_MARGIN_BYTES;
    if (free_bytes > max_bytes)
        free_bytes = max_bytes;
    if (free_bytes <= 0)
        return;
    void *pages = mmap(NULL, (size_t)free_bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE | MAP_NORESERVE, -1, 0);
    if (pages != MAP_FAILED)
        munmap(pages, (size_t)free_bytes);
}

void op_prepare(Call *call)
{
    const Disk *upper = call->request->prepare->writable_disk;
    PrepareResponse result = CRIVIRT__AGENT__V1__PREPARE_RESPONSE__INIT;
    ConstantMemory *constant;
    char node[64];
    Fault error;
    DiskState state = DISK_FAILED;

    if (pod.sandbox_id[0] != '\0')
        fault(&error, FAULT_FAILED_PRECONDITION, "this guest is already the guest of sandbox %s",
              pod.sandbox_id);
    else if (upper == NULL)
        fault(&error, FAULT_INVALID_ARGUMENT, "Prepare names no writable disk");
    else
        state = pod.has_upper ? DISK_READY : disk_find(upper, node, sizeof node, &error);
    if (state == DISK_WAIT && disk_may_wait(call)) {
        call_retry(call, DISK_RETRY_MS);
        return;
    }
    if (state != DISK_READY || !mount_upper(node, &error) || !net_up_loopback(&error)) {
        call_fail(call, &error);
        return;
    }
    sync();
    constant = constant_memory_read("/proc/iomem", "/proc/kpageflags");
    if (constant != NULL) {
        constant_memory_add_programs(constant);
        constant_memory_report(constant, &result);
    }
    empty_free_memory(MEMORY_EMPTY_MAX_BYTES);
    reply_prepare(call, &result);
    constant_memory_free(constant);
}

/* Undoes what Setup would not do again: interfaces and shared memory. Setup overwrites the files and the host
 * name. */
static bool pod_undo_setup(const SetupRequest *request, Fault *ret_fault)
{
    for (size_t i = 0; i < request->n_interfaces; i++)
        if (!net_withdraw_interface(request->interfaces[i], ret_fault))
            return false;
    if (umount(SANDBOX_DIR "/shm") < 0)
        return fault_errno(ret_fault, "unmounting the pod's /dev/shm");
    pod.has_shm = false;
    return true;
}

void op_warm_up(Call *call)
{
    const SetupRequest *setup = call->request->warm_up->setup;
    WarmUpResponse result = CRIVIRT__AGENT__V1__WARM_UP_RESPONSE__INIT;
    Fault error;
    bool done = false;

    if (pod.sandbox_id[0] != '\0')
        fault(&error, FAULT_FAILED_PRECONDITION, "this guest is already the guest of sandbox %s",
              pod.sandbox_id);
    else if (!pod.has_upper)
        fault(&error, FAULT_FAILED_PRECONDITION, "this guest has not been prepared: Prepare comes first");
    else if (setup == NULL)
        fault(&error, FAULT_INVALID_ARGUMENT, "the request to warm up has no Setup request in it");
    else
        done = pod_set_up(setup, NULL, &error) && pod_undo_setup(setup, &error);
    if (done)
        reply_warm_up(call, &result);
    else
        call_fail(call, &error);
}

/* The code that the kernel has made of a container's filters, two megabytes for even one of them, and what
 * belonged to its cgroup are freed some time after its end. */
void op_empty_memory(Call *call)
{
    const EmptyMemoryRequest *request = call->request->empty_memory;
    EmptyMemoryResponse result = CRIVIRT__AGENT__V1__EMPTY_MEMORY_RESPONSE__INIT;
    Fault error;

    if (pod.sandbox_id[0] != '\0') {
        fault(&error, FAULT_FAILED_PRECONDITION, "this guest is already the guest of sandbox %s",
              pod.sandbox_id);
        call_fail(call, &error);
        return;
    }
    if (clock_monotonic_ns() - call->since_ns < MEMORY_SETTLE_MS * INT64_C(1000000)) {
        call_retry(call, MEMORY_SETTLE_MS);
        return;
    }
    empty_free_memory(request->max_bytes < MEMORY_EMPTY_MAX_BYTES ? (int64_t)request->max_bytes
                                                                  : MEMORY_EMPTY_MAX_BYTES);
    reply_empty_memory(call, &result);
}

void op_mount_share(Call *call)
{
    MountShareResponse result = CRIVIRT__AGENT__V1__MOUNT_SHARE_RESPONSE__INIT;
    const Crivirt__Agent__V1__MountShareRequest *request = call->request->mount_share;
    Fault error;
    DiskState state = mount_share(request->share_tag, &error);

    if (state == DISK_READY && request->kept && share_waits()) {
        fault(&error, FAULT_UNAVAILABLE, "the share %s, which was kept, has got no device",
              request->share_tag);
        state = DISK_WAIT;
    }
    if (state == DISK_READY && request->kept)
        share_let_go();
    if (state == DISK_READY)
        reply_mount_share(call, &result);
    else if (state == DISK_WAIT && disk_may_wait(call))
        call_retry(call, DISK_RETRY_MS);
    else
        call_fail(call, &error);
}
