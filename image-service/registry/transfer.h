/* SPDX-License-Identifier: Apache-2.0 */
/* One HTTP request at a time over connections that are kept for the next: libcurl with the daemon's errors,
 * deadlines and cancellation.
 *
 * Redirects are not followed and no answer is retried: the caller does that, because it knows what the
 * request means. Proxies are taken from the environment, as curl does (http_proxy in small letters only), but
 * never for loopback addresses. A Transfer belongs to one thread at a time.
 */
#pragma once

#include "common/deadline.h"
#include "image-service/registry/hosts.h"

typedef struct Transfer Transfer;

Transfer *transfer_new(void);
void transfer_free(Transfer *transfer); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Transfer, transfer_free)

/* Takes a piece of the body of a 2xx answer. FALSE ends the transfer with that error. */
typedef gboolean (*TransferSink)(Transfer *transfer, const void *data, gsize length, gpointer user_data,
                                 GError **error);

typedef struct {
    const char *url;
    gboolean is_head;
    const char *form;            /* not NULL: POST of this form */
    const char *const *headers;  /* "Name: value"; NULL: none */
    const RegistryEndpoint *tls; /* certificates; borrowed */
    gboolean with_client_cert;   /* present the endpoint's certificate */
    gboolean is_foreign;         /* a server chose the URL: link-local addresses are refused */
    TransferSink sink;           /* NULL: a 2xx body is collected too */
    gpointer sink_data;
    gsize max_body_bytes;       /* of a collected body; a longer one is cut */
    gint64 progress_timeout_ms; /* a request that gets no byte for so long has failed */
} TransferRequest;

typedef enum {
    TRANSFER_ANSWERED,    /* there is a status, whichever; the call returned TRUE */
    TRANSFER_UNREACHABLE, /* no connection was made */
    TRANSFER_BROKEN,      /* the connection failed on the way: worth another attempt */
    TRANSFER_REFUSED,     /* a bad certificate or address, the sink's error, the deadline: final */
} TransferOutcome;

/* Return: TRUE when an answer came and was read to its end. Errors: UNAVAILABLE for the network, the sink's,
 * the deadline's. The message names no URL, because those of redirects hold signatures, and not the host. */
gboolean transfer_perform(Transfer *transfer, const TransferRequest *request, const Deadline *deadline,
                          GError **error);

/* These describe the last request, until the next one begins. */
TransferOutcome transfer_outcome(const Transfer *transfer);
long transfer_status(const Transfer *transfer);
/* The body that was collected, NUL-terminated. */
const char *transfer_body(const Transfer *transfer, gsize *ret_length);
gboolean transfer_body_was_cut(const Transfer *transfer);
/* The n-th header of that name, borrowed; NULL when there is none. Also inside the sink. */
const char *transfer_header(const Transfer *transfer, const char *name, guint n);
/* Seconds that the answer asks to wait for; 0 when it asks for none. */
gint64 transfer_retry_after_s(const Transfer *transfer);
/* How much of this answer the sink got before the current piece. */
guint64 transfer_sunk_bytes(const Transfer *transfer);
