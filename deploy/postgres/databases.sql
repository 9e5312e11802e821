-- One database for each who writes; run once, when the volume is new.
CREATE DATABASE lake;
CREATE DATABASE releases;
CREATE DATABASE mlflow;
CREATE DATABASE optuna;
CREATE DATABASE dagster;
