"""The backend of OpenVINO: conversion of a graph to an IR, the types that it computes in, and sessions on the CPU."""
