/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/config/option_table.h"

const Option option_rows[N_OPTIONS] = {
#define OPTION(TYPE, section, key, flag, default_text, limits, when, help)                                   \
    {OPTION_TYPE_##TYPE,                                                                                     \
     OPTION_##when,                                                                                          \
     #section,                                                                                               \
     #key,                                                                                                   \
     flag,                                                                                                   \
     G_STRUCT_OFFSET(Settings, section.SETTING_FIELD_##TYPE(key)),                                           \
     default_text,                                                                                           \
     limits,                                                                                                 \
     help},
#include "common/settings/options.def"
};

gpointer option_field(const Option *option, const Settings *settings)
{
    return (char *)settings + option->offset;
}

gboolean option_starts_section(gsize i)
{
    return i == 0 || !g_str_equal(option_rows[i - 1].section, option_rows[i].section);
}
