/* SPDX-License-Identifier: Apache-2.0 */
/* Frames that a test writes, field after field. The functions are inline, so that their short names stay with
 * the tests of frames. A frame must not become longer than FRAME_BYTES. */
#pragma once

#include <arpa/inet.h>
#include <glib.h>
#include <netinet/in.h>
#include <string.h>

#include "tests/unit/harness.h"

enum { FRAME_BYTES = 4096 };

typedef struct {
    guint8 bytes[FRAME_BYTES];
    gsize length;
} Frame;

static inline void put(Frame *frame, const void *bytes, gsize length)
{
    memcpy(frame->bytes + frame->length, bytes, length);
    frame->length += length;
}

static inline void put_zeros(Frame *frame, gsize length)
{
    memset(frame->bytes + frame->length, 0, length);
    frame->length += length;
}

static inline void put_byte(Frame *frame, guint8 value)
{
    frame->bytes[frame->length++] = value;
}

static inline void put_half(Frame *frame, guint16 value)
{
    put_byte(frame, (guint8)(value >> 8));
    put_byte(frame, (guint8)value);
}

static inline void put_ip(Frame *frame, const char *address)
{
    guint8 bytes[sizeof(struct in6_addr)];
    gboolean ipv6 = strchr(address, ':') != NULL;

    CU_ASSERT_EQUAL(inet_pton(ipv6 ? AF_INET6 : AF_INET, address, bytes), 1);
    put(frame, bytes, ipv6 ? 16 : 4);
}
