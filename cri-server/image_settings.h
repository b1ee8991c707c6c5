/* SPDX-License-Identifier: Apache-2.0 */
/* What the image service gets of the settings. */
#pragma once

#include "common/settings/settings.h"
#include "image-service/image_service.h"

/* root: of the store. Return: strings are borrowed from root and settings. */
ImageServiceConfig image_settings(const Settings *settings, const char *root);
