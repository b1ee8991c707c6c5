/* SPDX-License-Identifier: Apache-2.0 */
/* Images: pulling, importing, listing, removing, and the layer files that containers run from.
 *
 * Thread-safe. An image is known by its id, "sha256:…" of its configuration; tags and digests are names for
 * it. Image and ImageLayer objects are immutable and reference-counted snapshots.
 */
#pragma once

#include "common/deadline.h"
#include "image-service/registry/credentials.h"

typedef struct ImageService ImageService;

typedef struct ImageServiceConfig {
    const char *root;               /* state: blobs in progress, layers, images.db */
    gid_t layers_gid;               /* QEMU's group, which reads the layers; 0: root alone does */
    const char *hosts_dir;          /* containerd's certs.d layout; NULL: none */
    const char *auth_file;          /* Docker's config.json or containers' auth.json; NULL: none */
    const char *architecture;       /* OCI platform of the guests: "amd64", "arm64" */
    guint max_parallel_layers;      /* of one pull; 0: 3 */
    guint64 max_layer_bytes;        /* unpacked, per layer; 0: 32 GiB */
    guint64 max_layer_memory_bytes; /* while it is unpacked; 0: LAYER_DEFAULT_MEMORY_BYTES */
    gint64 max_layer_time_ms;       /* of a processor; 0: LAYER_DEFAULT_TIME_MS */
    guint64 max_image_bytes;        /* unpacked, all layers; 0: 64 GiB */
    gint64 progress_timeout_ms;     /* a download that gets no byte for so long is retried; 0: 60 s */
} ImageServiceConfig;

typedef struct {
    char *key;  /* "sha256:…", which names this file for as long as it exists; not always the diff id */
    char *path; /* absolute path of its EROFS file, mode 0440 */
    guint64 size_bytes; /* of that file */
} ImageLayer;

typedef struct {
    char *id;
    char **tags;        /* "docker.io/library/busybox:latest", NULL-terminated, sorted */
    char **digests;     /* "docker.io/library/busybox@sha256:…" */
    guint64 size_bytes; /* compressed layers + configuration; never 0 */
    GPtrArray *layers;  /* ImageLayer, lowest first */
    gint64 pulled_at_ns;
    /* From the image configuration; absent strings are NULL, absent vectors empty. */
    char *architecture;
    char *user;
    char *working_dir;
    char *stop_signal;
    char **entrypoint;
    char **cmd;
    char **environment;
    char **volumes;
    GHashTable *labels;
    char *config_json; /* the whole configuration, for verbose status */
} Image;
Image *image_ref(Image *image);
void image_unref(Image *image);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Image, image_unref)

/* Called from the pulling threads, serialised per pull: how far each layer is. total_bytes 0: not known yet.
 */
typedef enum {
    IMAGE_PROGRESS_WAITING,
    IMAGE_PROGRESS_DOWNLOADING,
    IMAGE_PROGRESS_UNPACKING,
    IMAGE_PROGRESS_DONE,
    IMAGE_PROGRESS_EXISTS,
} ImageProgressState;
typedef struct {
    const char *digest;
    ImageProgressState state;
    guint64 done_bytes;
    guint64 total_bytes;
} ImageProgress;
typedef void (*ImageProgressFunc)(const ImageProgress *progress, gpointer data);

/* Opens or creates the store, and removes what interrupted pulls left. */
ImageService *image_service_open(const ImageServiceConfig *config, GError **error);
void image_service_close(ImageService *service); /* takes NULL; waits for pulls to end */
/* Replaces the configuration for later pulls and loads; root, layers_gid and architecture stay as they were.
 */
void image_service_configure(ImageService *service, const ImageServiceConfig *config);

typedef struct {
    const char *reference;      /* "busybox", "host:5000/a/b:tag", "…@sha256:…" */
    const RegistryAuth *auth;   /* NULL: none */
    ImageProgressFunc progress; /* NULL: none */
    gpointer progress_data;
} ImagePullRequest;

/* Pulls an image for the configured platform. Two pulls of the same reference at once do the work once.
 * Errors: INVALID_ARGUMENT (reference), NOT_FOUND, UNAUTHENTICATED, PERMISSION_DENIED, UNAVAILABLE (network,
 * rate limits), DATA_LOSS (digest), RESOURCE_EXHAUSTED (limits, disk), the deadline's. */
gboolean image_service_pull(ImageService *service, const ImagePullRequest *request, const Deadline *deadline,
                            Image **ret_image, GError **error);

/* Asks a registry ("docker.io", "host:5000") whether it takes these credentials. Errors: UNAUTHENTICATED,
 * UNAVAILABLE, INVALID_ARGUMENT for what is no registry's name. */
gboolean image_service_check_credentials(ImageService *service, const char *registry,
                                         const RegistryAuth *auth, const Deadline *deadline, GError **error);

/* Imports an OCI archive, an OCI layout directory or an archive of docker save, compressed or not.
 * *ret_images: Image, freed by the array. */
gboolean image_service_load(ImageService *service, const char *path, const Deadline *deadline,
                            GPtrArray **ret_images, GError **error);

/* Finds an image by its id (with or without "sha256:", or a unique prefix of at least 3 digits), by tag or by
 * digest reference. Return: a reference of the caller's, NULL when there is none. Errors: INVALID_ARGUMENT
 * when several images have the prefix. */
Image *image_service_find(ImageService *service, const char *name, GError **error);
/* Elements are Image; the array frees them. */
GPtrArray *image_service_list(ImageService *service);

/* Removes the image with all its names, whichever of them, or its id, is given. An unknown name is success.
 * Layers that a pin or another image uses stay until the last of these is gone. */
gboolean image_service_remove(ImageService *service, const char *name, GError **error);

/* While owner (a container id) pins an image, its layer files stay on disk. Pins are not stored: after a
 * restart the owners pin again, and only then image_service_collect() may run. */
void image_service_pin(ImageService *service, const char *owner, Image *image);
void image_service_unpin(ImageService *service, const char *owner);
/* Pins layers by their keys, for an owner whose image was removed while it ran. *ret_layers: ImageLayer,
 * freed by the array. Errors: INTERNAL when a file is missing. */
gboolean image_service_pin_layers(ImageService *service, const char *owner, const char *const *keys,
                                  GPtrArray **ret_layers, GError **error);
/* Deletes the layers that neither an image nor a pin uses. */
void image_service_collect(ImageService *service);

typedef struct {
    char *mountpoint; /* the root directory */
    guint64 used_bytes;
    guint64 inodes_used;
} ImageFsUsage;
/* What the store occupies. The figures are kept up to date; nothing is scanned. */
gboolean image_service_fs_usage(ImageService *service, ImageFsUsage *ret_usage, GError **error);
