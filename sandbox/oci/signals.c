/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/oci/signals.h"

#include <string.h>

/* Linux's numbers, the same on all architectures with KVM. The C library's SIGRTMIN is higher, because it
 * reserves two signals. */
enum { LINUX_SIGRTMIN = 34, LINUX_SIGRTMAX = 64 };

static gboolean realtime_from_name(const char *name, int *ret_signal)
{
    gboolean from_min = g_str_has_prefix(name, "RTMIN");
    const char *rest = name + strlen("RTMIN");
    const char *sign = from_min ? "+" : "-";
    const char *word = from_min ? "PLUS" : "MINUS";
    guint64 distance = 0;

    if (!from_min && !g_str_has_prefix(name, "RTMAX"))
        return FALSE;
    if (*rest != '\0') {
        if (g_str_has_prefix(rest, word))
            rest += strlen(word);
        else if (g_str_has_prefix(rest, sign))
            rest += 1;
        else
            return FALSE;
        if (!g_ascii_string_to_unsigned(rest, 10, 0, LINUX_SIGRTMAX - LINUX_SIGRTMIN, &distance, NULL))
            return FALSE;
    }
    *ret_signal = from_min ? LINUX_SIGRTMIN + (int)distance : LINUX_SIGRTMAX - (int)distance;
    return TRUE;
}

gboolean signal_from_name(const char *name, int *ret_signal)
{
    g_autofree char *upper = g_ascii_strup(name, -1);
    const char *bare = g_str_has_prefix(upper, "SIG") ? upper + 3 : upper;
    guint64 number;

    if (g_ascii_string_to_unsigned(bare, 10, 1, LINUX_SIGRTMAX, &number, NULL)) {
        *ret_signal = (int)number;
        return TRUE;
    }
    for (int i = 1; i < 32; i++) {
        const char *known = sigabbrev_np(i);

        if (known != NULL && g_str_equal(known, bare)) {
            *ret_signal = i;
            return TRUE;
        }
    }
    /* other names of the same signals */
    if (g_str_equal(bare, "CLD"))
        return signal_from_name("CHLD", ret_signal);
    if (g_str_equal(bare, "IOT"))
        return signal_from_name("ABRT", ret_signal);
    if (g_str_equal(bare, "IO"))
        return signal_from_name("POLL", ret_signal);
    return realtime_from_name(bare, ret_signal);
}

int signal_from_cri(Runtime__V1__Signal signal)
{
    const ProtobufCEnumValue *value =
        protobuf_c_enum_descriptor_get_value(&runtime__v1__signal__descriptor, signal);
    int number;

    if (value == NULL || !signal_from_name(value->name + strlen("SIGNAL_"), &number))
        return 0;
    return number;
}

Runtime__V1__Signal signal_to_cri(int signal)
{
    const ProtobufCEnumDescriptor *descriptor = &runtime__v1__signal__descriptor;

    for (unsigned i = 0; i < descriptor->n_values; i++)
        if (signal != 0 && signal_from_cri((Runtime__V1__Signal)descriptor->values[i].value) == signal)
            return (Runtime__V1__Signal)descriptor->values[i].value;
    return RUNTIME__V1__SIGNAL__SIGNAL_RUNTIME_DEFAULT;
}
