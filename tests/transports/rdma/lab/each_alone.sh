#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Runs the tests of lanes on real devices, in the lab. Those that leave their device unusable come
# one at a time, each with a device made anew.
#
# usage: each_alone.sh PROGRAM
set -eu
"$1" --gtest_filter='-Lane*'
for filter in LanePortLoss.EndsAnIdleLaneAtOnce LanePortLoss.EndsABusyLaneAtOnce \
  LaneDeviceLoss.EndsLanesAndNothingHangs; do
  "$1" --gtest_filter="$filter"
  rdma link delete rxe1 2>/dev/null || true
  /usr/sbin/ip link set data1 up
  rdma link add rxe1 type rxe netdev data1
  # The GID of the address follows by itself.
  until ibv_devinfo -d rxe1 -v | grep -q '::ffff:10.77.1.1'; do sleep 0.1; done
done
