/* SPDX-License-Identifier: Apache-2.0 */
/* Formats times, sizes and ids for people. All functions are pure; the caller frees what they return. */
#pragma once

#include <glib.h>

/* "Less than a second", "About a minute", "3 hours", in Docker's words. */
char *human_duration(gint64 duration_ns);
/* The same followed by " ago"; "" for a time of 0. */
char *human_ago(gint64 then_ns, gint64 now_ns);
/* Powers of 1000, as Docker shows image sizes: "4.26MB". */
char *human_size(guint64 bytes);
/* RFC 3339 in UTC with nanoseconds; "" for 0. */
char *human_rfc3339(gint64 time_ns);
/* The first twelve digits of an id, without "sha256:". */
char *human_short_id(const char *id);
gint64 human_now_ns(void);
