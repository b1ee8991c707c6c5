/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/image_settings.h"

#include <grp.h>
#include <sys/utsname.h>

/* Return: OCI's name of the images' architecture. */
static const char *guest_architecture(const Settings *settings)
{
    struct utsname node;

    if (!g_str_equal(settings->images.architecture, "auto"))
        return settings->images.architecture;
    return uname(&node) == 0 && g_str_equal(node.machine, "aarch64") ? "arm64" : "amd64";
}

static const char *path_or_null(const char *path)
{
    return *path != '\0' ? path : NULL;
}

ImageServiceConfig image_settings(const Settings *settings, const char *root)
{
    const struct group *qemu =
        getgrnam(settings->hypervisor.qemu_group); /* if it is missing, vmm_open() reports it */

    return (ImageServiceConfig){
        .root = root,
        .layers_gid = qemu != NULL ? qemu->gr_gid : 0,
        .hosts_dir = path_or_null(settings->registry.hosts_dir),
        .auth_file = path_or_null(settings->registry.auth_file),
        .architecture = guest_architecture(settings),
        .max_parallel_layers = settings->images.max_parallel_layers,
        .max_layer_bytes = settings->images.max_layer_size_bytes,
        .max_layer_memory_bytes = settings->images.max_layer_memory_bytes,
        .max_layer_time_ms = settings->images.max_layer_time_ms,
        .max_image_bytes = settings->images.max_image_size_bytes,
        .progress_timeout_ms = settings->images.progress_timeout_ms,
    };
}
