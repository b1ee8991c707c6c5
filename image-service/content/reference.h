/* SPDX-License-Identifier: Apache-2.0 */
/* Image references: "busybox", "host:5000/a/b:tag", "ghcr.io/a/b@sha256:…".
 *
 * The grammar is that of the distribution project; names are completed as Docker and containerd do: registry
 * docker.io, repository library/…, tag latest. A tag beside a digest is checked and dropped, because the
 * digest alone decides (containerd does the same). References are immutable once parsed.
 */
#pragma once

#include <glib.h>

typedef struct {
    char *domain;     /* "docker.io", "host:5000", "[::1]:5000" */
    char *repository; /* "library/busybox" */
    char *tag;        /* exactly one of tag and digest is set */
    char *digest;
} Reference;

/* Errors: INVALID_ARGUMENT with a message that quotes the text. */
gboolean reference_parse(const char *text, Reference **ret_reference, GError **error);
Reference *reference_copy(const Reference *reference);
void reference_free(Reference *reference); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Reference, reference_free)

/* Each returns a new string. "docker.io/library/busybox": */
char *reference_name(const Reference *reference);
/* The name with ":tag" or "@digest": */
char *reference_to_string(const Reference *reference);
/* "docker.io/library/busybox@sha256:…", what stands in Image.digests. */
char *reference_with_digest(const Reference *reference, const char *digest);
