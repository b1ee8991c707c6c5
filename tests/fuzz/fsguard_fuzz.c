/* SPDX-License-Identifier: Apache-2.0 */
/* A guest's memory with any virtqueue in it, which fsguard answers in place of a dead file server. */
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sandbox/vmm/fsguard/device.h"

enum { MEMORY_BYTES = 1 << 16 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void tell(Device *device, uint32_t request, const void *payload, uint32_t length, const int *fds,
                 size_t n_fds)
{
    Message message = {.request = request, .flags = 1, .size = length};

    memcpy(message.payload, payload, length);
    device_note(device, &message, fds, n_fds);
}

/* First bytes: the ring's size and where its parts are; the rest: memory. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static Device device;
    const uint64_t table[] = {1, 0x1000, MEMORY_BYTES, 0x100000, 0};
    uint16_t head[4] = {0};
    int memory;

    if (size < sizeof head || size > MEMORY_BYTES)
        return 0;
    memcpy(head, data, sizeof head);
    memory = memfd_create("guest", MFD_CLOEXEC);
    if (ftruncate(memory, MEMORY_BYTES) < 0 || pwrite(memory, data, size, 0) < 0)
        return 0;
    device_init(&device);
    tell(&device, 5, table, sizeof table, &memory, 1);
    tell(&device, 8, (const uint32_t[]){0, (uint32_t)1 << (head[0] % 17)}, 8, NULL, 0);
    tell(&device, 9, (const uint64_t[]){0, 0x100000 + head[1], 0x100000 + head[2], 0x100000 + head[3], 0}, 40,
         NULL, 0);
    tell(&device, 12, &(uint64_t){0}, 8, &(int){dup(STDIN_FILENO)}, 1);
    tell(&device, 2, &(uint64_t){(uint64_t)(head[0] >> 15) << 29}, 8, NULL, 0);
    device_fail_ring(&device, 0, ENOTCONN);
    device_fail_ring(&device, 0, ENOTCONN);
    tell(&device, 11, (const uint32_t[]){0, 0}, 8, NULL, 0);
    memory_clear(&device.memory);
    return 0;
}
