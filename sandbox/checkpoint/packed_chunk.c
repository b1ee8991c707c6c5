/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/checkpoint/packed_chunk.h"

#include <openssl/evp.h>
#include <string.h>
#include <zstd.h>

#include "common/error.h"

enum { NONCE_BYTES = 12 };

struct PackedCoder {
    const PackedForm *form;
    EVP_CIPHER_CTX *cipher; /* when it encrypts */
    EVP_MD_CTX *digest;     /* when it does not */
    ZSTD_CCtx *compressor;  /* made when they are needed */
    ZSTD_DCtx *decompressor;
    guint8 *content;
    guint8 *compressed;
    gsize compressed_bytes;
    guint8 *stored;
    guint pages; /* of the content */
};

/* OpenSSL fails here only when it has no memory or no such algorithm; no work is possible then. */
static void check_openssl(int result)
{
    if (result != 1)
        g_error("OpenSSL cannot compute a digest or a cipher");
}

static void *check_memory(void *made)
{
    if (made == NULL)
        g_error("there is no memory to pack a file");
    return made;
}

PackedCoder *packed_coder_new(const PackedForm *form)
{
    PackedCoder *coder = g_new0(PackedCoder, 1);

    coder->form = form;
    if (form->encrypt)
        coder->cipher = check_memory(EVP_CIPHER_CTX_new());
    else
        coder->digest = check_memory(EVP_MD_CTX_new());
    coder->compressed_bytes = ZSTD_compressBound(PACKED_CONTENT_BYTES);
    coder->content = g_malloc(PACKED_CONTENT_BYTES);
    coder->compressed = g_malloc(coder->compressed_bytes);
    coder->stored = g_malloc(PACKED_CONTENT_BYTES);
    return coder;
}

void packed_coder_free(PackedCoder *coder)
{
    if (coder == NULL)
        return;
    EVP_CIPHER_CTX_free(coder->cipher);
    EVP_MD_CTX_free(coder->digest);
    ZSTD_freeCCtx(coder->compressor);
    ZSTD_freeDCtx(coder->decompressor);
    g_free(coder->content);
    g_free(coder->compressed);
    g_free(coder->stored);
    g_free(coder);
}

/* ---- entries ---- */

gsize packed_check_bytes(const PackedForm *form)
{
    return form->encrypt ? PACKED_TAG_BYTES : PACKED_DIGEST_BYTES;
}

static void head_put(const PackedChunk *chunk, guint8 *ret_head)
{
    const guint64 window = GUINT64_TO_LE(chunk->window);
    const guint32 lengths[] = {GUINT32_TO_LE(chunk->length), GUINT32_TO_LE(chunk->stored)};

    memcpy(ret_head, &window, sizeof window);
    memcpy(ret_head + sizeof window, lengths, sizeof lengths);
}

void packed_entry_put(const PackedForm *form, const PackedChunk *chunk, guint8 *ret_entry)
{
    head_put(chunk, ret_entry);
    memcpy(ret_entry + PACKED_ENTRY_HEAD_BYTES, chunk->check, packed_check_bytes(form));
}

void packed_entry_get(const PackedForm *form, const guint8 *entry, PackedChunk *ret_chunk)
{
    guint64 window;
    guint32 lengths[2];

    memcpy(&window, entry, sizeof window);
    memcpy(lengths, entry + sizeof window, sizeof lengths);
    *ret_chunk = (PackedChunk){.window = GUINT64_FROM_LE(window),
                               .length = GUINT32_FROM_LE(lengths[0]),
                               .stored = GUINT32_FROM_LE(lengths[1])};
    memcpy(ret_chunk->check, entry + PACKED_ENTRY_HEAD_BYTES, packed_check_bytes(form));
}

/* ---- digest and cipher ---- */

static void digest_of(PackedCoder *coder, const guint8 *stored, gsize length,
                      guint8 ret_digest[PACKED_DIGEST_BYTES])
{
    check_openssl(EVP_DigestInit_ex(coder->digest, EVP_sha256(), NULL));
    check_openssl(EVP_DigestUpdate(coder->digest, stored, length));
    check_openssl(EVP_DigestFinal_ex(coder->digest, ret_digest, NULL));
}

/* Begins with the key, the nonce and the additional data of the chunk. */
static void cipher_begin(PackedCoder *coder, const PackedChunk *chunk, int encrypts)
{
    const guint64 window = GUINT64_TO_LE(chunk->window);
    const char *name = coder->form->name;
    guint8 nonce[NONCE_BYTES] = {0};
    guint8 head[PACKED_ENTRY_HEAD_BYTES];
    int length;

    memcpy(nonce, &window, sizeof window);
    head_put(chunk, head);
    check_openssl(
        EVP_CipherInit_ex(coder->cipher, EVP_aes_256_gcm(), NULL, coder->form->key, nonce, encrypts));
    check_openssl(
        EVP_CipherUpdate(coder->cipher, NULL, &length, (const guint8 *)name, (int)strlen(name) + 1));
    check_openssl(EVP_CipherUpdate(coder->cipher, NULL, &length, head, sizeof head));
}

static void encrypt(PackedCoder *coder, PackedChunk *chunk, const guint8 *plain)
{
    int length;

    cipher_begin(coder, chunk, 1);
    check_openssl(EVP_CipherUpdate(coder->cipher, coder->stored, &length, plain, (int)chunk->stored));
    check_openssl(EVP_CipherFinal_ex(coder->cipher, coder->stored + length, &length));
    check_openssl(EVP_CIPHER_CTX_ctrl(coder->cipher, EVP_CTRL_AEAD_GET_TAG, PACKED_TAG_BYTES, chunk->check));
}

/* Return: whether the chunk is what was encrypted at its place. */
static gboolean decrypt(PackedCoder *coder, const PackedChunk *chunk)
{
    guint8 tag[PACKED_TAG_BYTES];
    int length;

    memcpy(tag, chunk->check, sizeof tag);
    cipher_begin(coder, chunk, 0);
    check_openssl(EVP_CipherUpdate(coder->cipher, coder->stored, &length, coder->stored, (int)chunk->stored));
    check_openssl(EVP_CIPHER_CTX_ctrl(coder->cipher, EVP_CTRL_AEAD_SET_TAG, sizeof tag, tag));
    return EVP_CipherFinal_ex(coder->cipher, coder->stored + length, &length) == 1;
}

/* ---- encoding ---- */

void packed_coder_begin(PackedCoder *coder)
{
    memset(coder->content, 0, PACKED_MAP_BYTES);
    coder->pages = 0;
}

static gsize content_length(guint pages)
{
    return PACKED_MAP_BYTES + (gsize)pages * PAGE_BYTES;
}

void packed_coder_add(PackedCoder *coder, gsize offset, const guint8 *data, gsize length)
{
    for (gsize at = 0; at < length; at += PAGE_BYTES) {
        const gsize bytes = MIN(length - at, PAGE_BYTES);
        const gsize page = (offset + at) / PAGE_BYTES;
        guint8 *place = coder->content + content_length(coder->pages);

        g_assert(page < PACKED_WINDOW_PAGES);
        if (page_is_zero(data + at, bytes))
            continue;
        memcpy(place, data + at, bytes);
        memset(place + bytes, 0, PAGE_BYTES - bytes);
        coder->content[page / 8] |= (guint8)(1U << (page % 8));
        coder->pages++;
    }
}

guint packed_coder_pages(const PackedCoder *coder)
{
    return coder->pages;
}

/* Return: the content as it is or compressed, whichever is shorter. */
static const guint8 *compress(PackedCoder *coder, gsize length, gsize *ret_length)
{
    size_t made;

    *ret_length = length;
    if (!coder->form->compress)
        return coder->content;
    if (coder->compressor == NULL)
        coder->compressor = check_memory(ZSTD_createCCtx());
    made = ZSTD_compressCCtx(coder->compressor, coder->compressed, coder->compressed_bytes, coder->content,
                             length, (int)coder->form->level);
    if (ZSTD_isError(made) || made >= length)
        return coder->content;
    *ret_length = made;
    return coder->compressed;
}

const guint8 *packed_coder_encode(PackedCoder *coder, PackedChunk *chunk)
{
    gsize stored;
    const guint8 *plain;

    chunk->length = (guint32)content_length(coder->pages);
    plain = compress(coder, chunk->length, &stored);
    chunk->stored = (guint32)stored;
    if (coder->form->encrypt) {
        encrypt(coder, chunk, plain);
        return coder->stored;
    }
    digest_of(coder, plain, stored, chunk->check);
    return plain;
}

/* ---- decoding ---- */

guint8 *packed_coder_stored(PackedCoder *coder)
{
    return coder->stored;
}

static gboolean stored_check(PackedCoder *coder, const PackedChunk *chunk)
{
    guint8 digest[PACKED_DIGEST_BYTES];

    if (coder->form->encrypt)
        return decrypt(coder, chunk);
    digest_of(coder, coder->stored, chunk->stored, digest);
    return memcmp(digest, chunk->check, sizeof digest) == 0;
}

static gboolean decompress(PackedCoder *coder, const PackedChunk *chunk)
{
    if (!coder->form->compress)
        return FALSE;
    if (coder->decompressor == NULL)
        coder->decompressor = check_memory(ZSTD_createDCtx());
    return ZSTD_decompressDCtx(coder->decompressor, coder->content, chunk->length, coder->stored,
                               chunk->stored) == chunk->length;
}

static gboolean map_agrees(const guint8 *map, gsize length)
{
    guint pages = 0;

    for (guint i = 0; i < PACKED_WINDOW_PAGES; i++)
        pages += packed_map_has(map, i);
    return content_length(pages) == length;
}

const guint8 *packed_coder_decode(PackedCoder *coder, const PackedChunk *chunk, GError **error)
{
    const guint8 *content = coder->stored;

    if (!stored_check(coder, chunk)) {
        fail(error, STATUS_DATA_LOSS,
             "the checkpoint's %s is damaged: MiB %" G_GUINT64_FORMAT " of it is not what was written",
             coder->form->name, chunk->window);
        return NULL;
    }
    if (chunk->stored < chunk->length)
        content = decompress(coder, chunk) ? coder->content : NULL;
    if (content == NULL || !map_agrees(content, chunk->length)) {
        fail(error, STATUS_DATA_LOSS,
             "the checkpoint's %s is damaged: MiB %" G_GUINT64_FORMAT " of it cannot be decoded",
             coder->form->name, chunk->window);
        return NULL;
    }
    return content;
}
