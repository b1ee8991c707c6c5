/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of `crivirt doctor` share. */
#pragma once

#include "cri-server/cli/doctor.h"

enum { DOCTOR_FILE_MAX_BYTES = 8 * 1024 * 1024 };

/* Append a finding, and take its texts. */
void doctor_add(GPtrArray *findings, DoctorVerdict verdict, const char *subject, char *text, char *remedy);
void doctor_add_good(GPtrArray *findings, const char *subject, char *text);

void doctor_check_cni(GPtrArray *findings, const Settings *settings);
void doctor_check_cpu(GPtrArray *findings, const Settings *settings);
