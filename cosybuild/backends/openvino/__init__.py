"""The backend of OpenVINO: conversion of a graph to an IR, the types in which it computes, and sessions on the CPU."""
