/* The C type of an option's field, by the TYPE of its row. */
#pragma once

#include <glib.h>

#define CONFIG_TYPE_STRING char *
#define CONFIG_TYPE_PATH char *
#define CONFIG_TYPE_CHOICE char *
#define CONFIG_TYPE_LIST char **
#define CONFIG_TYPE_BOOL gboolean
#define CONFIG_TYPE_ADDRESS char *
#define CONFIG_TYPE_COUNT guint64
#define CONFIG_TYPE_SIZE guint64     /* bytes */
#define CONFIG_TYPE_DURATION guint64 /* milliseconds */
