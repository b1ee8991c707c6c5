/* SPDX-License-Identifier: Apache-2.0 */
/* A registry in the test's own process, with the faults that a test asks for. */
#pragma once

#include <glib.h>

typedef struct TestRegistry TestRegistry;

/* What it does besides serving. Set before the requests; all zero: a well-behaved registry. */
typedef struct {
    const char *user_password;    /* asks for Basic "user:password" */
    const char *token;            /* asks for this bearer token… */
    const char *token_password;   /* …which its token server gives only for Basic "user:password"… */
    const char *refresh_token;    /* …or for this refresh token */
    guint n_unavailable;          /* that many answers are 503 */
    const char *too_many;         /* all answers are 429 with this body */
    const char *retry_after;      /* answers of 503 and 429 have this header */
    guint n_cuts;                 /* that many blob answers are cut… */
    gsize cut_after;              /* …after so many bytes */
    gsize extra_bytes;            /* every blob is that much longer */
    gboolean without_length;      /* and its length is not announced */
    gboolean flip_a_byte;         /* every blob has a wrong last byte */
    gboolean without_ranges;      /* Range is ignored */
    gboolean without_head;        /* HEAD is 405 */
    gboolean stall;               /* blobs stop after cut_after bytes until the registry is freed */
    const TestRegistry *blobs_at; /* blobs are redirected there */
    const char *blobs_url;        /* or to this URL */
    const char *realm;            /* the token server's URL, when it is another */
} TestRegistryFaults;

TestRegistry *test_registry_new(void);
void test_registry_free(TestRegistry *registry);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TestRegistry, test_registry_free)

/* "127.0.0.1:PORT" */
const char *test_registry_host(const TestRegistry *registry);
void test_registry_set(TestRegistry *registry, TestRegistryFaults faults);

/* Returns the digest; the data is copied. */
char *test_registry_add_blob(TestRegistry *registry, const char *repository, const void *data, gsize length);
char *test_registry_add_manifest(TestRegistry *registry, const char *repository, const char *tag,
                                 const char *media_type, const char *json);
void test_registry_remove_blob(TestRegistry *registry, const char *repository, const char *digest);
/* "METHOD /path [range] [auth]" of every request, one a line; the caller frees it. */
char *test_registry_log(TestRegistry *registry);
