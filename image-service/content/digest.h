/* SPDX-License-Identifier: Apache-2.0 */
/* Content digests: "sha256:…" and "sha512:…" in lower-case hexadecimal (OCI image specification,
 * descriptor.md), and a hash that is fed while data streams by.
 *
 * A DigestHash belongs to one thread.
 */
#pragma once

#include <glib.h>

/* Whether the text is a digest that can be verified here; such a text is safe as part of a path or URL. */
gboolean digest_is_valid(const char *digest);
/* The same as an error: INVALID_ARGUMENT, "what: … is no sha256 or sha512 digest". */
gboolean digest_check(const char *digest, const char *what, GError **error);

typedef struct DigestHash DigestHash;

/* For the algorithm of a valid digest (or just "sha256:"). */
DigestHash *digest_hash_new(const char *like);
void digest_hash_free(DigestHash *hash); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DigestHash, digest_hash_free)

void digest_hash_update(DigestHash *hash, const void *data, gsize length);
/* Forgets what was fed. */
void digest_hash_reset(DigestHash *hash);
/* "sha256:…" of what was fed; the hash can only be reset or freed after that. */
char *digest_hash_finish(DigestHash *hash);
/* Finishes; DATA_LOSS when it is another digest; what names the data. */
gboolean digest_hash_verify(DigestHash *hash, const char *expected, const char *what, GError **error);

/* sha256 of a block in memory. */
char *digest_of(const void *data, gsize length);
