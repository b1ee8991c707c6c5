/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this module (process.c, process_input.c, process_report.c) share with each other alone.
 */
#pragma once

#include "agent/guest/process.h"

unsigned processes_count(void);
/* Return: NULL when there is no such process, or no id. */
Process *process_of_id(const ProcessId *id);
void process_hang_up(Process *process);
bool process_is_connection(const Process *process);

/* Writes what is queued to standard input. data: the Process. */
void process_input_flush(void *data);
/* Closes standard input. Input that is queued, or comes later, counts as written. */
void process_input_close(Process *process);

/* Drops queued input; offsets count from 0 again. */
void process_input_forget(Process *process);

/* The process is being freed: it has no turn any more. */
void process_report_forget(const Process *process);
