/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/guest/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/guest/loop.h"
#include "agent/guest/loopdev.h"
#include "agent/guest/paths.h"
#include "agent/guest/sysfile.h"

enum {
    SERIAL_MAX = 64,
    SCAN_EVERY_MS = 10,
    REMOVE_EVERY_MS = 1000,
    FLAT_LUN = 0x4000, /* Linux shows logical units from 256 on with the bits of the flat address mode */
};

typedef struct Layer {
    struct Layer *next;
    uint32_t lun;
    unsigned users;
    char serial[SERIAL_MAX];
} Layer;

static Layer *layers;

static const char *const SCSI_DEVICES = "/sys/class/scsi_device";

static Layer *layer_find(uint32_t lun)
{
    for (Layer *layer = layers; layer != NULL; layer = layer->next)
        if (layer->lun == lun)
            return layer;
    return NULL;
}

/* Reads the serial number from VPD page 0x80: four bytes of header, then text. */
static bool read_serial(const char *address, char *ret_serial, size_t room)
{
    char path[128];
    unsigned char page[4 + SERIAL_MAX];
    snprintf(path, sizeof path, "%s/%s/device/vpd_pg80", SCSI_DEVICES, address);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, page, sizeof page);
    close(fd);
    if (n < 4)
        return false;
    size_t length = (size_t)n - 4, said = (size_t)page[2] << 8 | page[3];
    if (length > said)
        length = said;
    if (length > room - 1)
        length = room - 1;
    memcpy(ret_serial, page + 4, length);
    while (length > 0 && (ret_serial[length - 1] == ' ' || ret_serial[length - 1] == '\0'))
        length--;
    ret_serial[length] = '\0';
    return true;
}

/* Finds the block device of a SCSI device. Return: false also while its node exists but cannot be opened yet.
 */
static bool read_node(const char *address, char *ret_node, size_t room)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s/device/block", SCSI_DEVICES, address);
    DIR *blocks = opendir(path);
    bool found = false;
    for (struct dirent *entry = NULL; blocks != NULL && !found && (entry = readdir(blocks)) != NULL;) {
        if (entry->d_name[0] != '.') {
            snprintf(ret_node, room, "/dev/%s", entry->d_name);
            int fd = open(ret_node, O_RDONLY | O_CLOEXEC);
            found = fd >= 0;
            if (found)
                close(fd);
        }
    }
    if (blocks != NULL)
        closedir(blocks);
    return found;
}

/* Scans every virtio-scsi host for the unit. This is faster than the hypervisor's event, which may also be
 * lost. */
static void scan_hosts(uint32_t lun)
{
    DIR *hosts = opendir("/sys/class/scsi_host");
    if (hosts == NULL)
        return;
    for (struct dirent *entry = readdir(hosts); entry != NULL; entry = readdir(hosts)) {
        char path[sizeof "/sys/class/scsi_host//scan" + sizeof entry->d_name], what[32];
        snprintf(path, sizeof path, "/sys/class/scsi_host/%s/proc_name", entry->d_name);
        if (entry->d_name[0] == '.' || !sysfile_read(path, what, sizeof what) ||
            strcmp(what, "virtio_scsi") != 0)
            continue;
        snprintf(path, sizeof path, "/sys/class/scsi_host/%s/scan", entry->d_name);
        snprintf(what, sizeof what, "0 0 %u", lun < 256 ? lun : lun | FLAT_LUN);
        sysfile_write(path, what);
    }
    closedir(hosts);
}

static void remove_stale(const char *address)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s/device/delete", SCSI_DEVICES, address);
    sysfile_write(path, "1");
}

/* Finds the sysfs name ("2:0:0:7") of the disk with that unit and serial. When another disk has the unit,
 * returns false with the address and the serial of that disk in ret_address and ret_other. */
static bool find_address(const Disk *disk, char *ret_address, size_t room, char *ret_other)
{
    DIR *devices = opendir(SCSI_DEVICES);
    bool found = false;
    ret_other[0] = '\0';
    if (devices == NULL)
        return false;
    for (struct dirent *entry = readdir(devices); entry != NULL && !found; entry = readdir(devices)) {
        unsigned host, channel, target;
        unsigned long long lun;
        char serial[SERIAL_MAX];
        /* NOLINTNEXTLINE(cert-err34-c): the kernel's own numbers */
        if (sscanf(entry->d_name, "%u:%u:%u:%llu", &host, &channel, &target, &lun) != 4 ||
            (lun & ~(unsigned long long)FLAT_LUN) != disk->lun || strlen(entry->d_name) >= room ||
            !read_serial(entry->d_name, serial, sizeof serial))
            continue;
        snprintf(ret_address, room, "%s", entry->d_name);
        found = strcmp(serial, disk->serial) == 0;
        if (!found)
            strcpy(ret_other, serial); /* NOLINT: the same size */
    }
    closedir(devices);
    return found;
}

/* Return: true at most once in every_ms, for all disks together, because scans and removals make the kernel
 * exchange many messages with the hypervisor. */
static bool interval_over(int64_t *last_ns, int64_t every_ms)
{
    int64_t now_ns = clock_monotonic_ns();
    if (*last_ns != 0 && now_ns - *last_ns < every_ms * 1000000)
        return false;
    *last_ns = now_ns;
    return true;
}

DiskState disk_find(const Disk *disk, char *ret_node, size_t room, Fault *ret_fault)
{
    static int64_t last_scan_ns, last_removal_ns;
    char address[64] = "", other[SERIAL_MAX];

    if (disk->serial[0] == '\0' || strlen(disk->serial) >= SERIAL_MAX || disk->lun >= FLAT_LUN) {
        fault(ret_fault, FAULT_INVALID_ARGUMENT,
              "disk %u: the serial is empty or too long, or the unit number is too large", disk->lun);
        return DISK_FAILED;
    }
    if (find_address(disk, address, sizeof address, other)) {
        if (read_node(address, ret_node, room))
            return DISK_READY;
        fault(ret_fault, FAULT_UNAVAILABLE, "disk %u (%s) has no block device in the guest yet", disk->lun,
              disk->serial);
        return DISK_WAIT;
    }
    if (other[0] == '\0') {
        fault(ret_fault, FAULT_UNAVAILABLE, "disk %u (%s) does not appear in the guest", disk->lun,
              disk->serial);
    } else {
        fault(ret_fault, FAULT_UNAVAILABLE, "disk %u in the guest is %s, not %s", disk->lun, other,
              disk->serial);
        if (layer_find(disk->lun) == NULL && interval_over(&last_removal_ns, REMOVE_EVERY_MS))
            remove_stale(address);
    }
    if (interval_over(&last_scan_ns, SCAN_EVERY_MS))
        scan_hosts(disk->lun);
    return DISK_WAIT;
}

static bool mount_layer(const char *node, const char *path, Fault *ret_fault)
{
    if (!dir_put(path, 0755, ret_fault))
        return false;
    if (mount(node, path, "erofs", MS_RDONLY | MS_NODEV | MS_NOSUID | MS_NOATIME, NULL) == 0)
        return true;
    fault_errno(ret_fault, "mounting layer %s on %s", node, path);
    rmdir(path);
    return false;
}

static bool mount_file(const char *file, const char *path, Fault *ret_fault)
{
    char node[64];
    int device = loopdev_open(file, node, sizeof node, ret_fault);
    bool mounted = device >= 0 && mount_layer(node, path, ret_fault);
    if (device >= 0)
        close(device);
    return mounted;
}

/* Layers are files for the agent of a host pod only. PID 1 runs in a guest, which has no files of the node.
 */
static DiskState file_check(const Disk *disk, Fault *ret_fault)
{
    if (disk->path[0] == '/' && strlen(disk->serial) < SERIAL_MAX && getpid() != 1)
        return DISK_READY;
    fault(ret_fault, FAULT_INVALID_ARGUMENT,
          "disk %u: cannot mount the file %s: only the agent of a host pod mounts files", disk->lun,
          disk->path);
    return DISK_FAILED;
}

DiskState layer_acquire(const Disk *disk, Fault *ret_fault)
{
    char node[64], path[64];
    Layer *layer = layer_find(disk->lun);

    if (layer != NULL && strcmp(layer->serial, disk->serial) != 0) {
        fault(ret_fault, FAULT_FAILED_PRECONDITION, "disk %u is in use as %s, not %s", disk->lun,
              layer->serial, disk->serial);
        return DISK_FAILED;
    }
    if (layer != NULL) {
        layer->users++;
        return DISK_READY;
    }
    bool is_file = disk->path[0] != '\0';
    DiskState state = is_file ? file_check(disk, ret_fault) : disk_find(disk, node, sizeof node, ret_fault);
    if (state != DISK_READY)
        return state;
    snprintf(path, sizeof path, LAYERS_DIR "/%u", disk->lun);
    layer = calloc(1, sizeof *layer);
    if (layer == NULL ||
        !(is_file ? mount_file(disk->path, path, ret_fault) : mount_layer(node, path, ret_fault))) {
        if (layer == NULL)
            fault(ret_fault, FAULT_RESOURCE_EXHAUSTED, "out of memory for a layer");
        free(layer);
        return DISK_FAILED;
    }
    layer->lun = disk->lun;
    layer->users = 1;
    strcpy(layer->serial, disk->serial); /* NOLINT: disk_find() has checked its length */
    layer->next = layers;
    layers = layer;
    return DISK_READY;
}

bool layer_release(uint32_t lun)
{
    char path[64];
    Layer **place = &layers;
    while (*place != NULL && (*place)->lun != lun)
        place = &(*place)->next;
    Layer *layer = *place;
    if (layer == NULL || --layer->users > 0)
        return false;

    snprintf(path, sizeof path, LAYERS_DIR "/%u", lun);
    if (umount2(path, 0) < 0 && umount2(path, MNT_DETACH) < 0)
        complain("unmounting %s: %s", path, strerror(errno));
    rmdir(path);
    *place = layer->next;
    free(layer);
    return true;
}
