/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/checkpoint/checkpoint_secret.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/rand.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_INFO "crivirt checkpoint file "
#define MANIFEST_INFO "crivirt checkpoint manifest"
#define KEY_INFO "crivirt checkpoint key"

enum { KEY_DIGITS = 2 * CHECKPOINT_KEY_BYTES };

/* ---- hexadecimal ---- */

void checkpoint_hex_write(const guint8 *bytes, gsize length, char *ret_text)
{
    static const char digits[] = "0123456789abcdef";

    for (gsize i = 0; i < length; i++) {
        *ret_text++ = digits[bytes[i] >> 4];
        *ret_text++ = digits[bytes[i] & 15];
    }
    *ret_text = '\0';
}

gboolean checkpoint_hex_read(const char *text, gsize length, guint8 *ret_bytes)
{
    if (strnlen(text, 2 * length + 1) != 2 * length)
        return FALSE;
    for (gsize i = 0; i < length; i++) {
        const int high = g_ascii_xdigit_value(text[2 * i]);
        const int low = g_ascii_xdigit_value(text[2 * i + 1]);

        if (high < 0 || low < 0)
            return FALSE;
        ret_bytes[i] = (guint8)(high << 4 | low);
    }
    return TRUE;
}

/* ---- key files ---- */

static gboolean key_file_is_private(const char *path, int fd, GError **error)
{
    struct stat status;

    if (fstat(fd, &status) != 0)
        return fail_errno(error, errno, "cannot read the key file %s", path);
    if (!S_ISREG(status.st_mode))
        return fail(error, STATUS_FAILED_PRECONDITION, "the key file %s is not a regular file", path);
    if (status.st_uid != 0 && status.st_uid != geteuid())
        return fail(error, STATUS_FAILED_PRECONDITION, "the key file %s belongs to another user (uid %u)",
                    path, status.st_uid);
    return (status.st_mode & 077) == 0 ||
           fail(error, STATUS_FAILED_PRECONDITION,
                "the key file %s can be read or written by others (mode %04o): chmod 600", path,
                status.st_mode & 07777);
}

static gboolean key_read(const char *path, int fd, guint8 ret_key[CHECKPOINT_KEY_BYTES], GError **error)
{
    char text[KEY_DIGITS + 3] = ""; /* a newline, and one byte more than a key file may have */
    ssize_t length = TEMP_FAILURE_RETRY(read(fd, text, sizeof text - 1));
    const int errnum = errno;
    gboolean good;

    if (length > 0 && text[length - 1] == '\n')
        text[length - 1] = '\0';
    good = length >= 0 && checkpoint_hex_read(text, CHECKPOINT_KEY_BYTES, ret_key);
    OPENSSL_cleanse(text, sizeof text);
    if (length < 0)
        return fail_errno(error, errnum, "cannot read the key file %s", path);
    return good || fail(error, STATUS_FAILED_PRECONDITION,
                        "the key file %s does not hold a key of %d hexadecimal digits (openssl rand -hex %d)",
                        path, KEY_DIGITS, CHECKPOINT_KEY_BYTES);
}

static gboolean key_load(const char *path, guint8 ret_key[CHECKPOINT_KEY_BYTES], GError **error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    gboolean good;

    if (fd < 0)
        return fail(error, STATUS_FAILED_PRECONDITION, "cannot open the key file %s: %s", path,
                    g_strerror(errno));
    good = key_file_is_private(path, fd, error) && key_read(path, fd, ret_key, error);
    close(fd);
    return good;
}

gboolean checkpoint_key_file_check(const char *key_file, GError **error)
{
    guint8 key[CHECKPOINT_KEY_BYTES];
    gboolean good = key_load(key_file, key, error);

    OPENSSL_cleanse(key, sizeof key);
    return good;
}

/* ---- derivation ---- */

/* OpenSSL fails here only when it has no memory or no such algorithm; no work is possible then. */
static void derive(const guint8 key[CHECKPOINT_KEY_BYTES], const guint8 *salt, const char *info,
                   guint8 *ret_derived, gsize length)
{
    EVP_KDF *hkdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    EVP_KDF_CTX *context = hkdf != NULL ? EVP_KDF_CTX_new(hkdf) : NULL;
    OSSL_PARAM parameters[5];
    OSSL_PARAM *next = parameters;

    *next++ = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)"SHA256", 0);
    *next++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)key, CHECKPOINT_KEY_BYTES);
    *next++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)info, strlen(info));
    if (salt != NULL)
        *next++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (void *)salt, CHECKPOINT_SALT_BYTES);
    *next = OSSL_PARAM_construct_end();
    if (context == NULL || EVP_KDF_derive(context, ret_derived, length, parameters) != 1)
        g_error("OpenSSL cannot derive a key");
    EVP_KDF_CTX_free(context);
    EVP_KDF_free(hkdf);
}

void checkpoint_secret_file_key(const CheckpointSecret *secret, const char *name,
                                guint8 ret_key[CHECKPOINT_KEY_BYTES])
{
    g_autofree char *info = g_strconcat(FILE_INFO, name, NULL);

    derive(secret->key, secret->salt, info, ret_key, CHECKPOINT_KEY_BYTES);
}

void checkpoint_secret_mac(const CheckpointSecret *secret, const void *manifest, gsize length,
                           guint8 ret_mac[CHECKPOINT_MAC_BYTES])
{
    guint8 key[CHECKPOINT_KEY_BYTES];

    derive(secret->key, secret->salt, MANIFEST_INFO, key, sizeof key);
    if (HMAC(EVP_sha256(), key, sizeof key, manifest, length, ret_mac, NULL) == NULL)
        g_error("OpenSSL cannot compute a MAC");
    OPENSSL_cleanse(key, sizeof key);
}

/* ---- secrets ---- */

static CheckpointSecret *secret_load(const char *key_file, GError **error)
{
    g_autoptr(CheckpointSecret) secret = g_new0(CheckpointSecret, 1);
    guint8 id[CHECKPOINT_KEY_ID_BYTES];

    if (!key_load(key_file, secret->key, error))
        return NULL;
    derive(secret->key, NULL, KEY_INFO, id, sizeof id);
    checkpoint_hex_write(id, sizeof id, secret->id);
    return g_steal_pointer(&secret);
}

CheckpointSecret *checkpoint_secret_new(const char *key_file, GError **error)
{
    CheckpointSecret *secret = secret_load(key_file, error);

    if (secret != NULL && RAND_bytes(secret->salt, sizeof secret->salt) != 1)
        g_error("OpenSSL has no random numbers");
    return secret;
}

CheckpointSecret *checkpoint_secret_find(const char *const *key_files, const char *id,
                                         const guint8 salt[CHECKPOINT_SALT_BYTES], GError **error)
{
    g_autofree char *names = NULL;

    for (guint i = 0; key_files != NULL && key_files[i] != NULL; i++) {
        g_autoptr(CheckpointSecret) secret = secret_load(key_files[i], error);

        if (secret == NULL)
            return NULL;
        if (!g_str_equal(secret->id, id))
            continue;
        memcpy(secret->salt, salt, sizeof secret->salt);
        return g_steal_pointer(&secret);
    }
    names = key_files != NULL && *key_files != NULL ? g_strjoinv(", ", (char **)key_files) : NULL;
    if (names == NULL)
        fail(error, STATUS_FAILED_PRECONDITION,
             "the checkpoint is encrypted with the key %s, and no key file is given", id);
    else
        fail(error, STATUS_FAILED_PRECONDITION,
             "the checkpoint is encrypted with the key %s, which is not in %s", id, names);
    return NULL;
}

void checkpoint_secret_free(CheckpointSecret *secret)
{
    if (secret == NULL)
        return;
    OPENSSL_cleanse(secret, sizeof *secret);
    g_free(secret);
}
