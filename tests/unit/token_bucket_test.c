/* SPDX-License-Identifier: Apache-2.0 */
#include "common/token_bucket.h"

#include "tests/unit/harness.h"

static const TokenRate rate = {.per_second = 10, .burst = 3};

enum { START_US = 1000 * 1000, TOKEN_US = 100 * 1000 };

static void a_new_bucket_is_full(void)
{
    TokenBucket bucket = {0};

    for (int i = 0; i < 3; i++)
        CU_ASSERT_TRUE(token_bucket_take(&bucket, &rate, 1, START_US));
    CU_ASSERT_FALSE(token_bucket_take(&bucket, &rate, 1, START_US));
}

static void tokens_come_back_at_the_rate(void)
{
    TokenBucket bucket = {0};

    token_bucket_charge(&bucket, &rate, 3, START_US);
    CU_ASSERT_FALSE(token_bucket_take(&bucket, &rate, 1, START_US + TOKEN_US - 1));
    CU_ASSERT_TRUE(token_bucket_take(&bucket, &rate, 1, START_US + TOKEN_US));
    CU_ASSERT_FALSE(token_bucket_take(&bucket, &rate, 1, START_US + TOKEN_US));
    CU_ASSERT_TRUE(token_bucket_take(&bucket, &rate, 1, START_US + 60 * G_USEC_PER_SEC));
    CU_ASSERT_TRUE(token_bucket_take(&bucket, &rate, 1, START_US + 60 * G_USEC_PER_SEC));
    CU_ASSERT_TRUE(token_bucket_take(&bucket, &rate, 1, START_US + 60 * G_USEC_PER_SEC));
    CU_ASSERT_FALSE(token_bucket_take(&bucket, &rate, 1, START_US + 60 * G_USEC_PER_SEC));
}

/* However often the bucket is looked at, no part of a token is lost. */
static void parts_of_a_token_add_up(void)
{
    TokenBucket bucket = {0};
    guint taken = 0;

    token_bucket_charge(&bucket, &rate, 3, START_US);
    for (gint64 at_us = 0; at_us <= 10 * G_USEC_PER_SEC; at_us += 7 * 1000)
        if (token_bucket_take(&bucket, &rate, 1, START_US + at_us))
            taken++;
    CU_ASSERT_EQUAL(taken, 99);
}

static void a_debt_is_paid_in_time(void)
{
    TokenBucket bucket = {0};

    token_bucket_charge(&bucket, &rate, 3, START_US);
    CU_ASSERT_EQUAL(token_bucket_debt_us(&bucket, &rate, START_US), 0);
    token_bucket_charge(&bucket, &rate, 7, START_US);
    CU_ASSERT_EQUAL(token_bucket_debt_us(&bucket, &rate, START_US), 7 * TOKEN_US);
    CU_ASSERT_EQUAL(token_bucket_debt_us(&bucket, &rate, START_US + 5 * TOKEN_US), 2 * TOKEN_US);
    CU_ASSERT_EQUAL(token_bucket_debt_us(&bucket, &rate, START_US + 7 * TOKEN_US), 0);
}

int main(void)
{
    static const TestCase cases[] = {
        {"a new bucket is full", a_new_bucket_is_full},
        {"tokens come back at the rate, up to the burst", tokens_come_back_at_the_rate},
        {"parts of a token add up", parts_of_a_token_add_up},
        {"a charge may leave a debt, which is paid in time", a_debt_is_paid_in_time},
    };

    return test_main("token_bucket", cases, G_N_ELEMENTS(cases));
}
