/* SPDX-License-Identifier: Apache-2.0 */
/* A token bucket: a bound for what one party may use of something that it shares with others.
 *
 * A bucket that is all zeros is full. A charge is always made whole, so that a bucket can be in debt; the
 * party waits until the debt is paid. No threads, no clock: the caller serialises access and passes the time.
 */
#pragma once

#include <glib.h>

/* What the bucket holds is up to the caller: items, bytes, microseconds of a processor. */
typedef struct {
    gint64 per_second; /* tokens that come back; at least 1 */
    gint64 burst;      /* tokens of a full bucket */
} TokenRate;

typedef struct {
    gint64 used; /* tokens that have not come back; above the burst: debt */
    gint64 at_us;
} TokenBucket;

/* Takes tokens out of the bucket, which may leave it in debt. now_us: monotonic. */
void token_bucket_charge(TokenBucket *bucket, const TokenRate *rate, gint64 tokens, gint64 now_us);
/* Takes the tokens unless that would leave the bucket in debt. Return: whether it has. */
gboolean token_bucket_take(TokenBucket *bucket, const TokenRate *rate, gint64 tokens, gint64 now_us);
/* Return: the time until the bucket is out of debt; 0: it is. */
gint64 token_bucket_debt_us(TokenBucket *bucket, const TokenRate *rate, gint64 now_us);
