/* SPDX-License-Identifier: Apache-2.0 */
/* A hostile saved state of a file server. Its checksum is made right, because one that is wrong is refused at
 * once. What is loaded is consistent, and is saved as the same bytes.
 */
#include "sandbox/vmm/fsguard/relay_state.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { SUM_AT = 32, BODY_AT = 40, MAX_BYTES = 1 << 16 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int file_of(const uint8_t *bytes, size_t size)
{
    int file = memfd_create("state", MFD_CLOEXEC);

    if (file < 0 || write(file, bytes, size) != (ssize_t)size || lseek(file, 0, SEEK_SET) != 0)
        abort();
    return file;
}

static void save(Relay *relay, uint8_t *ret_bytes, ssize_t *ret_length)
{
    int file = memfd_create("state", MFD_CLOEXEC);

    if (relay_save(relay, file) != 0 || lseek(file, 0, SEEK_SET) != 0)
        abort();
    *ret_length = read(file, ret_bytes, 2 * MAX_BYTES);
    close(file);
}

static bool load(Relay *relay, const uint8_t *bytes, size_t size)
{
    int file = file_of(bytes, size);
    int problem = relay_load(relay, file, true);

    close(file);
    return problem == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t bytes[MAX_BYTES], saved[2 * MAX_BYTES], again[2 * MAX_BYTES];
    ssize_t n_saved, n_again;
    Device device;
    Relay *relay, *other;
    uint64_t sum = 0;

    if (size < BODY_AT || size > MAX_BYTES)
        return 0;
    memcpy(bytes, data, size);
    memcpy(bytes, "cvfsstat", 8);
    for (size_t i = BODY_AT; i < size; i++)
        sum = (sum ^ bytes[i]) * UINT64_C(0x100000001b3);
    memcpy(bytes + SUM_AT, &sum, sizeof sum);
    device_init(&device);
    relay = relay_new(&device);
    if (relay == NULL)
        abort();
    if (load(relay, bytes, size)) {
        save(relay, saved, &n_saved);
        other = relay_new(&device);
        if (other == NULL || !load(other, saved, (size_t)n_saved))
            abort();
        save(other, again, &n_again);
        if (n_again != n_saved || memcmp(saved, again, (size_t)n_saved) != 0)
            abort();
        relay_free(other);
    }
    relay_free(relay);
    return 0;
}
