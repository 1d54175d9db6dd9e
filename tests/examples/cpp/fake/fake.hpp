#pragma once

// Counts the live allocations, streams and objects of the fakes.
int fake_live();

// The calling thread's CUDA device.
int& fake_device();
