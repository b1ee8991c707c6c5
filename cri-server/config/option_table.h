/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of options.def, in their order. */
#pragma once

#include "common/settings/settings.h"
#include "cri-server/config/option_value.h"

enum {
#define OPTION(TYPE, section, key, flag, default_text, limits, when, help) OPTION_ROW_##section##_##key,
#include "common/settings/options.def"
    N_OPTIONS,
};

extern const Option option_rows[N_OPTIONS];

gpointer option_field(const Option *option, const Settings *settings);
/* Return: whether row i is the first of its section. */
gboolean option_starts_section(gsize i);
