/* SPDX-License-Identifier: Apache-2.0 */
/* The keys of one encrypted checkpoint.
 *
 * A key file holds 64 hexadecimal digits, and at most a newline behind them. It is a regular file that only
 * its owner can read, who is root or the user of this process. From its 256 bits K and the checkpoint's salt
 * (256 random bits, in the manifest) follow by HKDF with SHA-256 (RFC 5869):
 *
 *   the key of a file      salt: the checkpoint's; info: "crivirt checkpoint file NAME"
 *   the key of the MAC     salt: the checkpoint's; info: "crivirt checkpoint manifest"
 *   the id of K, 8 bytes   no salt; info: "crivirt checkpoint key", by which a manifest names K
 *
 * Errors: FAILED_PRECONDITION for a key file that is missing, readable by others or not a key, and for a
 * checkpoint whose key is in none of the files; the messages name the files, and never what is in them.
 * Threads: any, one at a time for a secret.
 */
#pragma once

#include "common/error.h"

enum {
    CHECKPOINT_KEY_BYTES = 32,
    CHECKPOINT_SALT_BYTES = 32,
    CHECKPOINT_KEY_ID_BYTES = 8,
    CHECKPOINT_MAC_BYTES = 32, /* HMAC with SHA-256 */
    CHECKPOINT_MAC_DIGITS = 2 * CHECKPOINT_MAC_BYTES,
};

typedef struct {
    guint8 key[CHECKPOINT_KEY_BYTES]; /* K */
    guint8 salt[CHECKPOINT_SALT_BYTES];
    char id[2 * CHECKPOINT_KEY_ID_BYTES + 1]; /* hexadecimal */
} CheckpointSecret;

/* Return: the secret of a new checkpoint, with a salt of its own, the caller's; NULL with the error. */
CheckpointSecret *checkpoint_secret_new(const char *key_file, GError **error);
/* Return: the secret of a checkpoint with such an id and salt, whose key is in one of these files (which may
 * be NULL), the caller's; NULL with the error. */
CheckpointSecret *checkpoint_secret_find(const char *const *key_files, const char *id,
                                         const guint8 salt[CHECKPOINT_SALT_BYTES], GError **error);
void checkpoint_secret_free(CheckpointSecret *secret); /* takes NULL; nothing of it is left in memory */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(CheckpointSecret, checkpoint_secret_free)

/* Return: whether the file holds a key that can be used. */
gboolean checkpoint_key_file_check(const char *key_file, GError **error);

void checkpoint_secret_file_key(const CheckpointSecret *secret, const char *name,
                                guint8 ret_key[CHECKPOINT_KEY_BYTES]);
/* The code that authenticates a manifest. */
void checkpoint_secret_mac(const CheckpointSecret *secret, const void *manifest, gsize length,
                           guint8 ret_mac[CHECKPOINT_MAC_BYTES]);

/* Hexadecimal digits. ret_text has room for 2 * length + 1; hex_read() takes exactly 2 * length digits. */
void checkpoint_hex_write(const guint8 *bytes, gsize length, char *ret_text);
gboolean checkpoint_hex_read(const char *text, gsize length, guint8 *ret_bytes);
