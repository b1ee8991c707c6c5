/* SPDX-License-Identifier: Apache-2.0 */
/* The manual pages and the shells' completions, generated from the tables of commands and of options at build
 * time
 * (`crivirt __generate`). */
#pragma once

#include <glib.h>

/* Return: the page in roff; the caller frees it. */
char *page_crivirt(void);      /* crivirt(1) */
char *page_crivirtd(void);     /* crivirtd(8) */
char *page_crivirt_toml(void); /* crivirt.toml(5) */

/* Return: a completion script; the caller frees it. */
char *completion_bash(void);
char *completion_zsh(void);
char *completion_fish(void);
