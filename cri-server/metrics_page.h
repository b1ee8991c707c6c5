/* SPDX-License-Identifier: Apache-2.0 */
/* The text of /metrics: the counters and histograms of all modules (common/metrics.h), and the figures that
 * are read when they are asked for. Scraping asks no guest, and costs a few reads of /proc for each pod.
 *
 * Labels are words of crivirt's own tables, and ids of pods, of which there are as many as pods: no text of a
 * client, an image or a guest becomes a label.
 */
#pragma once

#include "cri-server/daemon.h"
#include "cri-server/rpc/rpc_method.h"

/* Return: the text, in Prometheus's format, which the caller frees. */
char *metrics_page(const Daemon *daemon);
