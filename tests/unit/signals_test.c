/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/oci/signals.h"

#include <signal.h>

#include "tests/unit/harness.h"

static int named(const char *name)
{
    int signal = -1;

    return signal_from_name(name, &signal) ? signal : 0;
}

static void images_spell_them_freely(void)
{
    CU_ASSERT_EQUAL(named("SIGTERM"), SIGTERM);
    CU_ASSERT_EQUAL(named("term"), SIGTERM);
    CU_ASSERT_EQUAL(named("9"), SIGKILL);
    CU_ASSERT_EQUAL(named("SIGRTMIN+3"), 37);
    CU_ASSERT_EQUAL(named("SIGRTMAX-1"), 63);
    CU_ASSERT_EQUAL(named("SIGCLD"), SIGCHLD);
    CU_ASSERT_EQUAL(named("SIGIO"), SIGIO);
}

static void nonsense_is_refused(void)
{
    static const char *const bad[] = {"", "SIG", "SIGFOO", "0", "65", "-1", "RTMIN+99", "RTMINX", "TERM "};

    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++)
        CU_ASSERT_EQUAL(named(bad[i]), 0);
}

static void the_cri_knows_all(void)
{
    const ProtobufCEnumDescriptor *descriptor = &runtime__v1__signal__descriptor;

    CU_ASSERT_EQUAL(signal_from_cri(RUNTIME__V1__SIGNAL__SIGNAL_RUNTIME_DEFAULT), 0);
    CU_ASSERT_EQUAL(signal_from_cri(RUNTIME__V1__SIGNAL__SIGNAL_SIGRTMAXMINUS14), 50);
    for (unsigned i = 0; i < descriptor->n_values; i++) {
        Runtime__V1__Signal value = (Runtime__V1__Signal)descriptor->values[i].value;
        int number = signal_from_cri(value);

        CU_ASSERT_TRUE(value == RUNTIME__V1__SIGNAL__SIGNAL_RUNTIME_DEFAULT || number > 0);
        CU_ASSERT_EQUAL(signal_from_cri(signal_to_cri(number)), number);
    }
}

int main(void)
{
    static const TestCase cases[] = {
        {"images may write SIGTERM, term, 15 or SIGRTMIN+3", images_spell_them_freely},
        {"an unknown signal is refused", nonsense_is_refused},
        {"every signal of the CRI is converted to a number and back", the_cri_knows_all},
    };

    return test_main("signals", cases, G_N_ELEMENTS(cases));
}
