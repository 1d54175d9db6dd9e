#pragma once

// Allocations, streams and objects of the stand-ins that are alive.
int fake_live();

// The calling thread's CUDA device.
int& fake_device();
