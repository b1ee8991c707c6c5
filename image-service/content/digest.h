/* SPDX-License-Identifier: Apache-2.0 */
/* Content digests: "sha256:…" and "sha512:…" in lower-case hexadecimal (OCI image specification,
 * descriptor.md), and a hash that is fed while data streams by.
 *
 * A DigestHash belongs to one thread.
 */
#pragma once

#include <glib.h>

/* Return: whether the text is a digest that can be verified here; such a text is safe as part of a path or
 * URL. */
gboolean digest_is_valid(const char *digest);
/* The same with an error: INVALID_ARGUMENT, "WHAT: … is no sha256 or sha512 digest". */
gboolean digest_check(const char *digest, const char *what, GError **error);

typedef struct DigestHash DigestHash;

/* like: a valid digest, whose algorithm is used, or just "sha256:". */
DigestHash *digest_hash_new(const char *like);
void digest_hash_free(DigestHash *hash); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DigestHash, digest_hash_free)

void digest_hash_update(DigestHash *hash, const void *data, gsize length);
/* Begins again with nothing. */
void digest_hash_reset(DigestHash *hash);
/* Return: "sha256:…" of all that was fed, in a new string. The hash can only be reset or freed after that. */
char *digest_hash_finish(DigestHash *hash);
/* Finishes and compares; `what` names the data in the message. Errors: DATA_LOSS when it is another digest.
 */
gboolean digest_hash_verify(DigestHash *hash, const char *expected, const char *what, GError **error);

/* Return: the sha256 digest of a block in memory, in a new string. */
char *digest_of(const void *data, gsize length);
