/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/content/digest.h"

#include <openssl/evp.h>
#include <string.h>

#include "common/error.h"

static const struct {
    const char *prefix;
    gsize hex_digits;
} algorithms[] = {{"sha256:", 64}, {"sha512:", 128}};

struct DigestHash {
    const char *prefix;
    const EVP_MD *algorithm;
    EVP_MD_CTX *context;
};

gboolean digest_is_valid(const char *digest)
{
    for (gsize i = 0; i < G_N_ELEMENTS(algorithms); i++) {
        const char *hex = digest + strlen(algorithms[i].prefix);

        if (g_str_has_prefix(digest, algorithms[i].prefix))
            return strspn(hex, "0123456789abcdef") == algorithms[i].hex_digits &&
                   hex[algorithms[i].hex_digits] == '\0';
    }
    return FALSE;
}

gboolean digest_check(const char *digest, const char *what, GError **error)
{
    if (digest_is_valid(digest))
        return TRUE;
    return fail(error, STATUS_INVALID_ARGUMENT, "%s: \"%.160s\" is no sha256 or sha512 digest", what, digest);
}

DigestHash *digest_hash_new(const char *like)
{
    gboolean is_512 = g_str_has_prefix(like, "sha512:");
    DigestHash *hash = g_new0(DigestHash, 1);

    hash->prefix = is_512 ? "sha512:" : "sha256:";
    hash->algorithm = is_512 ? EVP_sha512() : EVP_sha256();
    hash->context = EVP_MD_CTX_new();
    digest_hash_reset(hash);
    return hash;
}

void digest_hash_free(DigestHash *hash)
{
    if (hash == NULL)
        return;
    EVP_MD_CTX_free(hash->context);
    g_free(hash);
}

/* OpenSSL fails here only when it has no memory or no SHA-2; no work is possible then. */
static void check_openssl(int result)
{
    if (result != 1)
        g_error("OpenSSL cannot compute a digest");
}

void digest_hash_reset(DigestHash *hash)
{
    check_openssl(EVP_DigestInit_ex(hash->context, hash->algorithm, NULL));
}

void digest_hash_update(DigestHash *hash, const void *data, gsize length)
{
    check_openssl(EVP_DigestUpdate(hash->context, data, length));
}

char *digest_hash_finish(DigestHash *hash)
{
    guint8 bytes[EVP_MAX_MD_SIZE];
    guint length = 0;
    GString *text = g_string_new(hash->prefix);

    check_openssl(EVP_DigestFinal_ex(hash->context, bytes, &length));
    for (guint i = 0; i < length; i++)
        g_string_append_printf(text, "%02x", bytes[i]);
    return g_string_free(text, FALSE);
}

gboolean digest_hash_verify(DigestHash *hash, const char *expected, const char *what, GError **error)
{
    g_autofree char *digest = digest_hash_finish(hash);

    if (g_str_equal(digest, expected))
        return TRUE;
    return fail(error, STATUS_DATA_LOSS, "%s has digest %s instead of %s", what, digest, expected);
}

char *digest_of(const void *data, gsize length)
{
    g_autoptr(DigestHash) hash = digest_hash_new("sha256:");

    digest_hash_update(hash, data, length);
    return digest_hash_finish(hash);
}
