/* SPDX-License-Identifier: Apache-2.0 */
#include "common/token_bucket.h"

static void refill(TokenBucket *bucket, const TokenRate *rate, gint64 now_us)
{
    gint64 elapsed_us = MAX(now_us - bucket->at_us, 0);
    gint64 back = elapsed_us / G_USEC_PER_SEC * rate->per_second +
                  elapsed_us % G_USEC_PER_SEC * rate->per_second / G_USEC_PER_SEC;

    if (back >= bucket->used) {
        bucket->used = 0;
        bucket->at_us = now_us;
    } else if (back > 0) { /* less than a token is left for the next time */
        bucket->used -= back;
        bucket->at_us += back * G_USEC_PER_SEC / rate->per_second;
    }
}

void token_bucket_charge(TokenBucket *bucket, const TokenRate *rate, gint64 tokens, gint64 now_us)
{
    refill(bucket, rate, now_us);
    bucket->used += tokens;
}

gboolean token_bucket_take(TokenBucket *bucket, const TokenRate *rate, gint64 tokens, gint64 now_us)
{
    refill(bucket, rate, now_us);
    if (bucket->used + tokens > rate->burst)
        return FALSE;
    bucket->used += tokens;
    return TRUE;
}

gint64 token_bucket_debt_us(TokenBucket *bucket, const TokenRate *rate, gint64 now_us)
{
    gint64 debt;

    refill(bucket, rate, now_us);
    debt = MAX(bucket->used - rate->burst, 0);
    return (debt * G_USEC_PER_SEC + rate->per_second - 1) / rate->per_second;
}
