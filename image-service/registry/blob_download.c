/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/registry/blob_download.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/error.h"
#include "image-service/content/digest.h"

enum { READ_BYTES = 256 << 10, PROGRESS_INTERVAL_US = 200000 };

struct BlobDownload {
    const Descriptor *descriptor;
    BlobTarget target;
    gint64 reported_us;
    DigestHash *hash; /* of the first offset bytes */
    guint64 offset;
    gboolean resumed; /* some of it is from an earlier call or another host */
    gboolean complete;
};

static gboolean restart_download(BlobDownload *download, GError **error)
{
    if (ftruncate(download->target.fd, 0) != 0)
        return fail_errno(error, errno, "cannot empty the file of blob %s", download->descriptor->digest);
    digest_hash_reset(download->hash);
    download->offset = 0;
    download->resumed = FALSE;
    return TRUE;
}

/* Hashes what an earlier call left. */
static gboolean hash_present_bytes(BlobDownload *download, guint64 length, GError **error)
{
    g_autofree char *buffer = g_malloc(READ_BYTES);

    while (download->offset < length) {
        ssize_t got =
            TEMP_FAILURE_RETRY(pread(download->target.fd, buffer, MIN(length - download->offset, READ_BYTES),
                                     (off_t)download->offset));

        if (got <= 0)
            return fail_errno(error, got < 0 ? errno : EIO, "cannot read the file of blob %s",
                              download->descriptor->digest);
        digest_hash_update(download->hash, buffer, (gsize)got);
        download->offset += (guint64)got;
    }
    download->resumed = length > 0;
    return TRUE;
}

BlobDownload *blob_download_new(const Descriptor *descriptor, const BlobTarget *target, GError **error)
{
    g_autoptr(BlobDownload) download = g_new0(BlobDownload, 1);
    struct stat status;

    download->descriptor = descriptor;
    download->target = *target;
    download->hash = digest_hash_new(descriptor->digest);
    if (fstat(target->fd, &status) != 0) {
        fail_errno(error, errno, "cannot look at the file of blob %s", descriptor->digest);
        return NULL;
    }
    if ((guint64)status.st_size > descriptor->size_bytes
            ? !restart_download(download, error)
            : !hash_present_bytes(download, (guint64)status.st_size, error))
        return NULL;
    return g_steal_pointer(&download);
}

void blob_download_free(BlobDownload *download)
{
    if (download == NULL)
        return;
    digest_hash_free(download->hash);
    g_free(download);
}

gboolean blob_download_is_complete(const BlobDownload *download)
{
    return download->complete;
}

static void report_progress(BlobDownload *download, gboolean now)
{
    gint64 time_us = g_get_monotonic_time();

    if (download->target.progress == NULL || (!now && time_us - download->reported_us < PROGRESS_INTERVAL_US))
        return;
    download->reported_us = time_us;
    download->target.progress(download->offset, download->target.data);
}

/* All bytes are there: FALSE when they are not the blob; the file is empty then. */
static gboolean verify_download(BlobDownload *download, GError **error)
{
    g_autofree char *what = g_strdup_printf("the content sent for %s", download->descriptor->digest);

    if (digest_hash_verify(download->hash, download->descriptor->digest, what, error)) {
        download->complete = TRUE;
        report_progress(download, TRUE);
        return TRUE;
    }
    restart_download(download, NULL);
    return FALSE;
}

gboolean blob_download_check_present(BlobDownload *download, GError **error)
{
    if (download->offset < download->descriptor->size_bytes)
        return TRUE;
    if (verify_download(download, NULL))
        return TRUE;
    /* A file of the right size with other content (a crash, another program) is fetched anew; an empty blob
     * with another digest does not exist. */
    if (download->descriptor->size_bytes == 0)
        return fail(error, STATUS_DATA_LOSS, "%s is not the digest of an empty blob",
                    download->descriptor->digest);
    return TRUE;
}

/* "bytes 100-199/200", where the total may be a star: whether the answer begins where we asked it to. */
static gboolean range_fits(const Transfer *transfer, guint64 offset, guint64 size_bytes)
{
    const char *range = transfer_header(transfer, "Content-Range", 0);
    const char *total = range != NULL ? strchr(range, '/') : NULL;

    return total != NULL && g_ascii_strncasecmp(range, "bytes ", 6) == 0 &&
           g_ascii_strtoull(range + 6, NULL, 10) == offset &&
           (g_str_equal(total, "/*") || g_ascii_strtoull(total + 1, NULL, 10) == size_bytes);
}

/* The first piece of an answer: is it the part that is missing? */
static gboolean check_answer(BlobDownload *download, const Transfer *transfer, GError **error)
{
    if (download->offset == 0 && transfer_status(transfer) == 200)
        return TRUE;
    if (transfer_status(transfer) == 200)
        return restart_download(download, error); /* it cannot do ranges: all from the beginning */
    if (transfer_status(transfer) == 206 &&
        range_fits(transfer, download->offset, download->descriptor->size_bytes))
        return TRUE;
    return fail(error, STATUS_DATA_LOSS, "the registry sent another part of %s than asked for",
                download->descriptor->digest);
}

static gboolean take_piece(Transfer *transfer, const void *data, gsize length, gpointer user_data,
                           GError **error)
{
    BlobDownload *download = user_data;
    const char *at = data;
    gsize left = length;

    if (transfer_sunk_bytes(transfer) == 0 && !check_answer(download, transfer, error))
        return FALSE;
    if (length > download->descriptor->size_bytes - download->offset)
        return fail(error, STATUS_DATA_LOSS,
                    "the content sent for %s is larger than the %" G_GUINT64_FORMAT " bytes announced",
                    download->descriptor->digest, download->descriptor->size_bytes);
    while (left > 0) {
        ssize_t written = TEMP_FAILURE_RETRY(pwrite(
            download->target.fd, at, left, (off_t)(download->offset + (guint64)(at - (const char *)data))));

        if (written < 0)
            return fail_errno(error, errno, "cannot write blob %s", download->descriptor->digest);
        at += written;
        left -= (gsize)written;
    }
    digest_hash_update(download->hash, data, length);
    download->offset += length;
    report_progress(download, FALSE);
    return TRUE;
}

/* Asks the host for the missing part until the size is reached; every answer must add to the file. */
static gboolean fetch_missing(BlobDownload *download, const RegistryCall *call, GError **error)
{
    RegistryRequest request = {
        .kind = "blobs",
        .what = download->descriptor->digest,
        .offset = &download->offset,
        .sink = take_piece,
        .sink_data = download,
    };

    while (download->offset < download->descriptor->size_bytes) {
        guint64 before = download->offset;
        g_autoptr(GError) failure = NULL;

        if (registry_host_request(call, &request, &failure)) {
            if (download->offset > before)
                continue;
            return fail(error, STATUS_DATA_LOSS,
                        "the answer for %s ends after %" G_GUINT64_FORMAT " of %" G_GUINT64_FORMAT " bytes",
                        download->descriptor->digest, download->offset, download->descriptor->size_bytes);
        }
        /* "Range Not Satisfiable": the file holds something else than the registry does. */
        if (transfer_outcome(call->transfer) == TRANSFER_ANSWERED && transfer_status(call->transfer) == 416 &&
            download->offset > 0) {
            if (!restart_download(download, error))
                return FALSE;
            continue;
        }
        if (failure->code == STATUS_DATA_LOSS)
            restart_download(download, NULL);
        g_propagate_error(error, g_steal_pointer(&failure));
        return FALSE;
    }
    return TRUE;
}

gboolean blob_download_from(BlobDownload *download, const RegistryCall *call, GError **error)
{
    for (;;) {
        g_autoptr(GError) failure = NULL;
        gboolean was_resumed = download->resumed;

        if (!fetch_missing(download, call, error)) {
            download->resumed = download->offset > 0;
            return FALSE;
        }
        if (verify_download(download, &failure))
            return TRUE;
        /* The beginning may have been bad, not what this host sent: once more, all of it from this host. */
        if (!was_resumed) {
            g_propagate_error(error, g_steal_pointer(&failure));
            return FALSE;
        }
    }
}
