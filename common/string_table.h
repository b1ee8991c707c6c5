/* SPDX-License-Identifier: Apache-2.0 */
/* Hash tables whose keys are strings that may come from outside: tars, registries, clients, guests, files.
 *
 * The hash is SipHash-1-3 under a random key of the process, so nobody can choose strings that meet in one
 * bucket; with GLib's g_str_hash() a table of chosen keys takes time in the square of their number. The order
 * of an iteration differs from one process to the next. `tests/lint.sh hashes` refuses g_str_hash elsewhere.
 * Specification: Aumasson and Bernstein, "SipHash: a fast short-input PRF".
 */
#pragma once

#include <glib.h>

/* A table from char * to pointers; the functions free keys and values, and may be NULL. */
GHashTable *string_table_new(GDestroyNotify free_key, GDestroyNotify free_value);

/* The hash of a string under the key of the process, for tables whose keys contain strings. Any thread. */
guint string_hash(gconstpointer string);

/* SipHash-1-3 of length bytes under a key of two words. */
guint64 string_siphash(const void *data, gsize length, const guint64 key[2]);
